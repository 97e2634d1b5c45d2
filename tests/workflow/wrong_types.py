"""Files whose references and values do not fit declared types, each with the exact messages that a person gets."""

# ruff: noqa: E501 - a message stands here as it is read, in one piece

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict

from pydantic import BaseModel

from agentflow.core.amounts import Amounts
from agentflow.core.records import Score, Subject
from agentflow.core.registry import Registry, scorer, tool

HEAD = """\
version: 1
models: {planner: {provider: embedded}, writer: {provider: openai, model: m}}
worlds: {table: {use: tabletop}}
types:
  Body: {type: object, fields: {name: string, mass_kg: {type: number, minimum: 0, optional: true}}}
  Scene: {type: object, fields: {seed: integer, bodies: list of Body}}
workflows:
  w:
    inputs: {scene: Scene, n: {type: integer, default: 3}, names: list of string, loose: any}
"""
COUNT = "{id: count, use: shop.count, with: {text: a}}"
FIND = "{id: find, use: shop.find, with: {name: a}}"


class Item(BaseModel):
    """An article."""

    name: str
    price: float
    tags: list[str] = []


class Found(BaseModel):
    """What a search found."""

    items: list[Item]
    best: Item
    note: str | None = None


@dataclass
class Box:
    """A box."""

    width_m: float
    label: str


class Totals(TypedDict):
    """Sums."""

    total: float
    count: int


@tool(estimate=lambda text: Amounts())
def count(text: str) -> int:
    """Count."""
    return len(text)


@tool(estimate=lambda name, limit: Amounts())
def find(name: str, limit: int = 3) -> Found:
    """Find."""
    raise NotImplementedError


@tool(estimate=lambda item: Amounts())
def price(item: Item, mode: Literal["fast", "careful"] = "fast") -> Totals:
    """Price."""
    raise NotImplementedError


@tool(estimate=lambda names: Amounts())
def pack(names: list[str]) -> list[Box]:
    """Pack."""
    raise NotImplementedError


@tool(estimate=lambda: Amounts())
def loose(options: Any = None) -> dict[str, Any]:
    """Say anything."""
    return {}


@scorer(lower_is_better=True)
def width(subject: Subject) -> Score:
    """Width."""
    return Score(value=0.0)


def shop() -> Registry:
    """Return the components that the files here name."""
    module = Registry()
    for function in (count, find, price, pack, loose, width):
        spec = function.__agentflow_spec__  # type: ignore[attr-defined]
        module.add(replace(spec, name=f"shop.{spec.name}"))
    return module


def steps(*lines: str, more: str = "") -> str:
    return HEAD + "    steps:\n" + "".join(f"      - {line}\n" for line in lines) + more


WRONG: dict[str, tuple[str, list[str]]] = {
    "a misspelt field of a plan": (
        steps("{id: plan, agent: {model: planner, prompt: x}}", "{id: b, foreach: {in: steps.plan.output.candidats}, use: shop.count, with: {text: a}}"),
        ["12:49: steps.plan.output has no 'candidats'. Did you mean 'candidates'? It has: goal, model, candidates, chosen, rejected, rounds, tried, history, do_nothing_m, rungs."],
    ),
    "a misspelt field of a model that a tool returns": (
        steps(FIND, "{id: b, use: shop.count, with: {text: '${{ steps.find.output.best.nme }}'}}"),
        ["12:75: steps.find.output.best has no 'nme'. Did you mean 'name'? It has: name, price, tags."],
    ),
    "a field of a whole number": (
        steps(COUNT, "{id: b, use: shop.count, with: {text: 'we have ${{ steps.count.output.total }}'}}"),
        ["12:79: steps.count.output is a whole number; it has no 'total'."],
    ),
    "a field of a list": (
        steps(FIND, "{id: b, use: shop.count, with: {text: '${{ steps.find.output.items.name }}'}}"),
        ["12:76: steps.find.output.items is a list of mappings (Item); it has no 'name'. Write steps.find.output.items[0].name, or steps.find.output.items.map(x, x.name)."],
    ),
    "a field of a list's item": (
        steps(FIND, "{id: b, use: shop.count, with: {text: '${{ steps.find.output.items[0].nam }}'}}"),
        ["12:79: steps.find.output.items[0] has no 'nam'. Did you mean 'name'? It has: name, price, tags."],
    ),
    "an item of something that has none": (
        steps(COUNT, "{id: b, if: 'steps.count.output[0] > 1', use: shop.loose}"),
        ["12:40: steps.count.output is a whole number; it has no items."],
    ),
    "an output's field without the word output": (
        steps(FIND, "{id: b, use: shop.price, with: {item: '${{ steps.find.best }}'}}"),
        ["12:52: a step has no 'best'. Did you mean steps.find.output.best? Of step 'find' can be read: output, status, ok, skipped, error, usage."],
    ),
    "a step without the word steps": (
        steps(FIND, "{id: b, use: shop.price, with: {item: '${{ find.output.best }}'}}"),
        ["12:52: unknown name 'find'. Did you mean steps.find.output?"],
    ),
    "a field of a dataclass and one of a TypedDict": (
        steps("{id: pack, use: shop.pack, with: {names: [a]}}", "{id: sum, use: shop.price, with: {item: {name: a, price: 1.0}}}", "{id: c, if: 'steps.pack.output[0].width > 1.0 && steps.sum.output.totl > 1.0', use: shop.loose}"),
        ["13:43: steps.pack.output[0] has no 'width'. Did you mean 'width_m'? It has: width_m, label.",
            "13:75: steps.sum.output has no 'totl'. Did you mean 'total'? It has: total, count."],
    ),
    "a number for a text": (
        steps(COUNT, "{id: b, use: shop.count, with: {text: '${{ steps.count.output }}'}}"),
        ["12:47: tool 'shop.count': 'text' takes text; this gives a whole number."],
    ),
    "a text for a whole number": (
        steps(FIND, "{id: b, use: shop.find, with: {name: a, limit: '${{ steps.find.output.best.name }}'}}"),
        ["12:56: tool 'shop.find': 'limit' takes a whole number; this gives text."],
    ),
    "an expression that gives the wrong type": (
        steps("{id: b, use: shop.find, with: {name: '${{ inputs.n * 2 }}', limit: '${{ inputs.n > 2 }}'}}"),
        ["11:46: tool 'shop.find': 'name' takes text; this gives a whole number.",
            "11:76: tool 'shop.find': 'limit' takes a whole number; this gives true or false."],
    ),
    "a list for a text, and a list of the wrong items": (
        steps(FIND, "{id: b, use: shop.count, with: {text: '${{ steps.find.output.best.tags }}'}}", "{id: c, use: shop.pack, with: {names: '${{ steps.find.output.items }}'}}"),
        ["12:47: tool 'shop.count': 'text' takes text; this gives a list of texts.",
            "13:47: tool 'shop.pack': 'names', at […], takes text; this gives a mapping (Item)."],
    ),
    "a mapping for a model that it is not": (
        steps("{id: sum, use: shop.price, with: {item: {name: a, price: 1.0}}}", "{id: b, use: shop.price, with: {item: '${{ steps.sum.output }}'}}"),
        ["12:47: tool 'shop.price': 'item' takes a mapping (Item) with 'name'; this gives a mapping with total, count."],
    ),
    "a mapping with an expression of the wrong type inside": (
        steps("{id: b, use: shop.price, with: {item: {name: '${{ inputs.n }}', price: 1.0}}}"),
        ["11:47: tool 'shop.price': 'item', at name, takes text; this gives a whole number."],
    ),
    "a list with an expression of the wrong type inside": (
        steps("{id: b, use: shop.pack, with: {names: [a, '${{ inputs.n }}']}}"),
        ["11:47: tool 'shop.pack': 'names', at [1], takes text; this gives a whole number."],
    ),
    "a plain value that is none of the allowed ones": (
        steps("{id: b, use: shop.price, with: {item: {name: a, price: 1.0}, mode: slow}}"),
        ["11:76: tool 'shop.price': 'mode' does not take 'slow': input should be 'fast' or 'careful'."],
    ),
    "a plain mapping that a model does not take": (
        steps("{id: b, use: shop.price, with: {item: {name: a, price: cheap}}}"),
        ["11:47: tool 'shop.price': 'item' does not take a mapping: price: input should be a valid number, unable to parse string as a number."],
    ),
    "a foreach over a number and one over a mapping": (
        steps(COUNT, FIND, "{id: b, foreach: {in: steps.count.output}, use: shop.loose}", "{id: c, foreach: {in: steps.find.output}, use: shop.loose}"),
        ["13:31: this gives a whole number; allowed: a list.",
            "14:31: this gives a mapping (Found); allowed: a list."],
    ),
    "a misspelt field of a foreach's item": (
        steps(FIND, "{id: b, foreach: {in: steps.find.output.items, as: article}, use: shop.count, with: {text: '${{ article.nmae }}'}}"),
        ["12:113: article has no 'nmae'. Did you mean 'name'? It has: name, price, tags."],
    ),
    "an item of the wrong type": (
        steps(FIND, "{id: b, foreach: {in: steps.find.output.items, as: article}, use: shop.count, with: {text: '${{ article }}'}}"),
        ["12:100: tool 'shop.count': 'text' takes text; this gives a mapping (Item)."],
    ),
    "an item outside its foreach": (
        steps(FIND, "{id: b, foreach: {in: steps.find.output.items, as: article}, use: shop.price, with: {item: '${{ article }}'}}", "{id: c, use: shop.price, with: {item: '${{ article }}'}}"),
        ["13:52: 'article' is an item of step 'b' and known only inside it. What became of the items is in steps.b.results."],
    ),
    "what a foreach left, misread": (
        steps(FIND, "{id: each, foreach: {in: steps.find.output.items, as: article}, use: shop.price, with: {item: '${{ article }}'}}", "{id: c, if: steps.each.output.succeeded > 1, use: shop.loose}", "{id: d, use: shop.loose, with: {options: '${{ steps.each.results[0].total }}'}}", "{id: e, use: shop.loose, with: {options: '${{ steps.each.results[0].output.totals }}'}}", "{id: f, use: shop.loose, with: {options: '${{ steps.each.outputs }}'}}"),
        ["13:39: steps.each.output has no 'succeeded'. It has: count, ok.",
            "14:77: steps.each.results[0] has no 'total'. It has: status, ok, skipped, error, error_kind, usage, index, item_digest, output.",
            "15:84: steps.each.results[0].output has no 'totals'. Did you mean 'total'? It has: total, count.",
            "16:55: a step has no 'outputs'. Did you mean 'output'? Of step 'each' can be read: output, status, ok, skipped, error, usage, results."],
    ),
    "results of a step that is no foreach": (
        steps(COUNT, "{id: b, foreach: {in: steps.count.results}, use: shop.loose}"),
        ["12:31: a step has no 'results'. Of step 'count' can be read: output, status, ok, skipped, error, usage."],
    ),
    "a condition on a number, and one on a text": (
        steps(COUNT, FIND, "{id: b, if: steps.count.output, use: shop.loose}", "{id: c, if: steps.find.output.best.name, use: shop.loose}"),
        ["13:21: this gives a whole number; allowed: a condition.",
            "14:21: this gives text; allowed: a condition."],
    ),
    "a comparison of a text with a number": (
        steps(FIND, "{id: b, if: steps.find.output.best.name > 3, use: shop.loose}"),
        ["12:49: the types do not fit: string > int; convert with double(x), int(x) or string(x), or write 2.0 for 2."],
    ),
    "an evaluation's best, misread": (
        steps("{id: pack, use: shop.pack, with: {names: [a]}}", "{id: best, evaluate: {over: steps.pack.output, scorers: {wide: shop.width}, select: {by: -wide}, gate: best.width < 0.5}}", "{id: c, if: steps.best.output.best.wid < 0.5, use: shop.loose}", "{id: d, if: steps.best.output.chosen.wide < 0.5, use: shop.loose}", "{id: e, if: steps.best.output.selected.wide < 0.5, use: shop.loose}"),
        ["12:117: best has no 'width'. Did you mean 'width_m'? It has: width_m, label, index, wide.",
            "13:44: steps.best.output.best has no 'wid'. Did you mean 'wide'? It has: width_m, label, index, wide.",
            "14:39: steps.best.output has no 'chosen'. It has: best, selected, scored, unscored.",
            "15:48: steps.best.output.selected is a list of mappings; it has no 'wide'. Write steps.best.output.selected[0].wide, or steps.best.output.selected.map(x, x.wide)."],
    ),
    "an evaluation over a mapping": (
        steps(FIND, "{id: b, evaluate: {over: steps.find.output, scorers: {wide: shop.width}}}"),
        ["12:34: this gives a mapping (Found); allowed: a list."],
    ),
    "a gate that gives a number, and one that compares a label": (
        steps("{id: pack, use: shop.pack, with: {names: [a]}}", "{id: b, evaluate: {over: steps.pack.output, scorers: {wide: shop.width}, gate: best.wide}}", "{id: c, evaluate: {over: steps.pack.output, scorers: {wide: shop.width}, gate: best.label > 1.0}}"),
        ["12:88: this gives a number; allowed: a condition.",
            "13:99: the types do not fit: string > float; convert with double(x), int(x) or string(x), or write 2.0 for 2."],
    ),
    "an approval's answer, misread": (
        steps("{id: ask, approval: {message: ok?, answers: {fps: integer}}}", "{id: b, if: steps.ask.output.answers.fsp > 3, use: shop.loose}", "{id: c, if: steps.ask.output.fps > 3, use: shop.loose}", "{id: d, if: steps.ask.output.answers.fps == 'many', use: shop.count, with: {text: '${{ steps.ask.output.answers.fps }}'}}"),
        ["12:46: steps.ask.output.answers has no 'fsp'. Did you mean 'fps'? It has: fps.",
            "13:38: steps.ask.output has no 'fps'. It has: decision, by, comment, answers.",
            "14:91: tool 'shop.count': 'text' takes text; this gives a whole number."],
    ),
    "an approval with answers of unknown and contradictory types": (
        steps("{id: ask, approval: {message: ok?, answers: {a: Scen, b: {type: string, minimum: 1}, c: {type: integer, default: many}}}}"),
        ["11:57: unknown type 'Scen'. Did you mean 'Scene'? Declared under `types`: Body, Scene.",
            "11:66: `minimum` is for type integer or number, not string.",
            "11:122: the default does not fit: found 'many' (text); allowed: a whole number."],
    ),
    "an approval that nobody may answer": (
        steps("{id: ask, approval: {message: ok?, timeout: 1h, on_timeout: approve, answers: {fps: integer}}}"),
        ["11:29: `on_timeout: approve` leaves 'fps' without an answer; give it a default."],
    ),
    "a misspelt field of a declared input": (
        steps("{id: b, if: inputs.scene.sede > 3, use: shop.loose}", "{id: c, use: shop.count, with: {text: '${{ inputs.scene.bodies[0].nam }}'}}"),
        ["11:34: inputs.scene has no 'sede'. Did you mean 'seed'? It has: seed, bodies.",
            "12:75: inputs.scene.bodies[0] has no 'nam'. Did you mean 'name'? It has: name, mass_kg."],
    ),
    "a declared input of the wrong type": (
        steps("{id: b, use: shop.count, with: {text: '${{ inputs.scene.bodies[0].mass_kg }}'}}", "{id: c, use: shop.pack, with: {names: '${{ inputs.scene.bodies }}'}}"),
        ["11:47: tool 'shop.count': 'text' takes text; this gives a number.",
            "12:47: tool 'shop.pack': 'names', at […], takes text; this gives a mapping (Body)."],
    ),
    "an unknown figure of the run": (
        steps("{id: b, if: run.spnet.usd > 1.0, use: shop.loose}", "{id: c, if: budget.left.dollars < 1.0, use: shop.loose}"),
        ["11:25: run has no 'spnet'. Did you mean 'spent'? It has: id, seed, spent.",
            "12:33: budget.left has no 'dollars'. It has: tokens, micro_usd, gpu_ms, frames, wall_ms, usd, gpu_seconds."],
    ),
    "a workflow's input of the wrong type": (
        steps(COUNT, "{id: b, workflow: v, with: {scene: {seed: one, bodies: []}, n: '${{ steps.count.output }}'}}", "{id: c, workflow: v, with: {scene: {seed: '${{ inputs.names[0] }}', bodies: [{nam: x}]}, n: x}}", more="  v: {inputs: {scene: Scene, n: string}, steps: [{id: a, use: shop.loose}]}\n"),
        ["12:44: workflow 'v': 'scene', at seed: found 'one' (text); allowed: a whole number.",
            "12:72: workflow 'v': 'n' takes text; this gives a whole number.",
            "13:44: workflow 'v': 'scene', at seed, takes a whole number; this gives text."],
    ),
    "a workflow's output, misread": (
        steps("{id: sub, workflow: v}", "{id: b, use: shop.count, with: {text: '${{ steps.sub.output.distnce }}'}}", "{id: c, use: shop.count, with: {text: '${{ steps.sub.output.amount }}'}}", more="  v:\n    steps: ["+COUNT+"]\n    outputs: {distance: {value: 1.5, type: number}, amount: '${{ steps.count.output }}'}\n"),
        ["12:69: steps.sub.output has no 'distnce'. Did you mean 'distance'? It has: distance, amount.",
            "13:47: tool 'shop.count': 'text' takes text; this gives a whole number."],
    ),
    "an output of the wrong type": (
        steps(COUNT, FIND, more="    outputs:\n      a: {value: '${{ steps.count.output }}', type: string}\n      b: {value: few, type: integer}\n      c: {value: {seed: '${{ steps.count.output }}'}, type: Scene}\n      d: {value: '${{ steps.find.output.bst }}', type: any}\n      e: {value: 1, type: Scen}\n"),
        ["14:18: the output 'a' is declared as text; this gives a whole number.",
            "15:18: the output 'b': found 'few' (text); allowed: a whole number.",
            "16:18: the output 'c' is declared as a mapping (Scene) with 'bodies'; this gives a mapping with seed.",
            "17:41: steps.find.output has no 'bst'. Did you mean 'best'? It has: items, best, note.",
            "18:27: unknown type 'Scen'. Did you mean 'Scene'? Declared under `types`: Body, Scene."],
    ),
    "a tool's declared output that contradicts the tool": (
        steps("{id: b, use: shop.count, with: {text: a}, output: string}", "{id: c, use: shop.pack, with: {names: [a]}, output: {type: list of object}}", "{id: d, use: shop.find, with: {name: a}, output: {type: object, fields: {items: any, best: any, hits: integer}}}"),
        ["11:59: the tool 'shop.count' gives a whole number; declared here: text.",
            "13:58: the tool 'shop.find' gives a mapping with items, best, note; declared here: a mapping with 'hits'."],
    ),
    "an output declared where there is no tool": (
        steps("{id: b, agent: {model: planner, prompt: x}, output: Scene}", "{id: c, workflow: v, output: Scene}", "{id: d, approval: {message: ok}, output: Scene}", more="  v: {steps: [{id: a, use: shop.loose}]}\n"),
        ["11:53: `output` goes with a tool. Write it inside `agent`.",
            "12:30: `output` goes with a tool. Remove it here.",
            "13:9: `output` means nothing beside an approval. Remove it."],
    ),
    "what an untyped tool was declared to give, misread": (
        steps("{id: a, use: shop.loose, output: Scene}", "{id: b, if: steps.a.output.sed > 1, use: shop.loose}"),
        ["12:36: steps.a.output has no 'sed'. Did you mean 'seed'? It has: seed, bodies."],
    ),
    "what an agent was declared to give, misread": (
        steps("{id: a, agent: {model: writer, prompt: x, output: Scene}}", "{id: b, if: steps.a.output.candidates.size() > 1, use: shop.loose}"),
        ["12:36: steps.a.output has no 'candidates'. It has: seed, bodies."],
    ),
    "an agent's numbers and inputs of the wrong type": (
        steps("{id: a, agent: {model: planner, prompt: x, rounds: '${{ inputs.names }}', keep: '${{ 0.5 }}'}, with: {scen: {}, goal: 3}}"),
        ["11:60: `rounds` takes a whole number; this gives a list of texts.",
            "11:89: `keep` takes a whole number; this gives a number.",
            "11:111: an agent that plans does not take 'scen'. Did you mean 'scene'? It takes: goal, scene.",
            "11:127: an agent that plans: 'goal': found 3 (an integer); allowed: text."],
    ),
    "types that hold one another": (
        "version: 1\ntypes:\n  A: {type: object, fields: {b: B}}\n  B: {type: array, items: C}\n  C: {type: object, values: A}\n  D: list of D\nworkflows: {w: {steps: [{id: a, use: shop.loose}]}}\n",
        ["5:29: these types hold one another without end: A → B → C → A.",
            "6:6: these types hold one another without end: D → D."],
    ),
    "types that are not": (
        "version: 1\ntypes:\n  scene: string\n  Plan: {type: object}\n  A: {type: objekt}\n  B: {type: string, fields: {a: string}}\n  C: {fields: {a: string}}\n  D: {type: object, fields: {a-b: string}}\n  E: {type: object, properties: {a: string}}\n  F: {type: Body, minimum: 3}\n  G: {type: integer, enum: [1, two]}\n  H: {type: array, min_length: 3, max_length: 2}\n  I: {type: object, fields: {n: {type: integer, minimum: 1, default: 0}}}\n  J: 7\n  K: [string]\n  L: list of strings\nworkflows: {w: {steps: [{id: a, use: shop.loose}]}}\n",
        ["3:3: 'scene' cannot be the name of a type: it starts with a capital letter and goes on with letters and digits, as in 'Scene'.",
            "4:3: 'Plan' is a type of agentflow already; choose another name.",
            "5:13: unknown type 'objekt'. Did you mean 'object'? Allowed: string, integer, number, boolean, object, array, any, 'list of …', or a name from `types`, which starts with a capital letter.",
            "6:6: `fields` is for type object, not string.",
            "7:6: 'type' is missing.",
            "8:30: 'a-b' cannot be a name here: it takes small letters, digits and _, and no digit first (in an expression, a-b is a subtraction).",
            "9:21: unknown key 'properties'. Did you mean 'fields'? Allowed here: type, description, default, optional, minimum, maximum, min_length, max_length, enum, items, fields, values.",
            "10:6: `minimum` is for type integer or number, not Body.",
            "11:6: `enum` holds 'two', which does not fit type integer.",
            "12:6: `min_length` is above `max_length`; no length fits.",
            "13:70: the default does not fit: found 0; allowed: at least 1.",
            "14:6: J: found 7; allowed: the name of a type, or a mapping with `type`.",
            "15:6: K: found a list; allowed: the name of a type, or a mapping with `type`.",
            "16:6: unknown type 'strings'. Did you mean 'string'? Allowed: string, integer, number, boolean, object, array, any, 'list of …', or a name from `types`, which starts with a capital letter."],
    ),
    "an input of an unknown type": (
        "version: 1\ntypes: {Scene: object}\nworkflows: {w: {inputs: {a: Secne, b: {type: list of Scen}, c: {type: object, fields: {d: {type: array, items: Body}}}}, steps: [{id: a, use: shop.loose}]}}\n",
        ["3:29: unknown type 'Secne'. Did you mean 'Scene'? Declared under `types`: Scene.",
            "3:46: unknown type 'Scen'. Did you mean 'Scene'? Declared under `types`: Scene.",
            "3:112: unknown type 'Body'. Declared under `types`: Scene."],
    ),
    "a default that does not fit its declared type": (
        "version: 1\ntypes: {Body: {type: object, fields: {name: string, mass_kg: {type: number, minimum: 0}}}}\nworkflows: {w: {inputs: {a: {type: Body, default: {name: x, mass_kg: -1}}, b: {type: list of Body, default: [{name: x}]}, c: {type: Body, default: {name: x, mass_kg: 1, mas: 2}}}, steps: [{id: a, use: shop.loose}]}}\n",
        ["3:51: the default does not fit, at mass_kg: found -1; allowed: at least 0.",
            "3:109: the default does not fit, at [0]: found no 'mass_kg'; allowed: a mapping (Body) with name, mass_kg.",
            "3:148: the default does not fit: found the key 'mas' (Did you mean 'mass_kg'?); allowed: name, mass_kg."],
    ),
    "defaults that are not": (
        "version: 1\ndefaults: {retry: 3, timeout: soon, max_paralel: 4, on_error: colect, guardrails: [{use: nope, at: input}]}\nworkflows: {w: {steps: [{id: a, use: shop.loose}]}}\n",
        ["2:19: retry: found 3; allowed: a mapping with attempts, backoff.",
            "2:31: found 'soon'; allowed: seconds, or a duration such as 90s, 15m, 24h.",
            "2:37: unknown key 'max_paralel'. Did you mean 'max_parallel'? Allowed here: budget, guardrails, retry, timeout, cache, max_parallel, on_error.",
            "2:63: on_error: found 'colect'; allowed: 'fail' or 'collect'. Did you mean 'collect'?",
            "2:90: unknown guardrail 'nope'. Known: none."],
    ),
    "conditions and lists that YAML has read as values": (
        steps("{id: a, if: true, use: shop.loose}", "{id: b, if: 1, use: shop.loose}", "{id: c, foreach: {in: [1, 2]}, use: shop.loose}", "{id: d, if: , use: shop.loose}", "{id: e, if: {a: 1}, use: shop.loose}", "{id: f, evaluate: {over: 'inputs.names', scorers: {a: shop.width}, gate: false}}", "{id: g, if: '', use: shop.loose}"),
        ['11:21: found true, which is no expression. Write a condition as text, such as "inputs.n > 1"; what always holds is left out.',
            '12:21: found 1, which is no expression. Write an expression as text, such as "inputs.n + 1".',
            "13:31: found a list, which YAML has read as its own. Write it as text: \"['a', 'b']\".",
            '15:21: found a mapping, which is no expression. Write an expression as text, such as "inputs.n + 1".',
            '16:82: found false, which is no expression. Write a condition as text, such as "inputs.n > 1"; what always holds is left out.',
            "17:21: if: found an empty text; allowed: some text."],
    ),
    "min_success without collect": (
        steps("{id: a, foreach: {in: '[1]', min_success: 1}, use: shop.loose}"),
        ["11:38: `min_success` means nothing with `on_error: fail`, where every item must succeed. Add on_error: collect."],
    ),
    "a chain of workflows with too many steps": (
        "version: 1\nworkflows:\n" + "".join(f"  w{i}: {{steps: [{{id: a, workflow: w{i+1}}}, {{id: b, workflow: w{i+1}}}]}}\n" for i in range(14)) + "  w14: {steps: [{id: a, use: shop.loose}]}\n",
        ["4:3: with the workflows that it runs, 'w1' has 8192 steps; at most 5000 are taken."],
    ),
    "a gate's way back to an unknown step": (
        steps("{id: pack, use: shop.pack, with: {names: [a]}}", "{id: b, evaluate: {over: steps.pack.output, scorers: {wide: shop.width}, gate: best.wide < 1.0, on_gate_fail: {goto: pakc, max_loops: 1000}}}"),
        ["12:126: unknown step 'pakc'. Did you mean 'pack'? Steps before this one: pack.",
            "12:143: max_loops: found 1000; allowed: at most 100."],
    ),
    "a skipped step's answer read by one before it": (
        steps("{id: a, if: steps.ask.ok, use: shop.loose}", "{id: ask, approval: {message: ok?}}"),
        ["11:21: step 'ask' does not come before this one; a step reads earlier steps only."],
    ),
    "an unknown answer type in a list": (
        steps("{id: a, approval: {message: m, show: [steps.b.output, inputs.scene.x], answers: [fps]}}"),
        ["11:47: unknown step 'b'. Steps before this one: none.",
            "11:76: inputs.scene has no 'x'. It has: seed, bodies.",
            "11:89: answers: found a list; allowed: a mapping."],
    ),
    "a misspelt field inside a comprehension": (
        steps(FIND, "{id: b, use: shop.pack, with: {names: '${{ steps.find.output.items.map(article, article.nmae) }}'}}", "{id: c, use: shop.pack, with: {names: '${{ steps.find.output.items.map(article, article.price) }}'}}"),
        ["12:97: article has no 'nmae'. Did you mean 'name'? It has: name, price, tags.",
            "13:47: tool 'shop.pack': 'names', at […], takes text; this gives a number."],
    ),
    "a secret where none may be read": (
        steps("{id: a, agent: {model: planner, prompt: 'use ${{ secrets.KEY }}'}}"),
        ["11:58: secrets are read under `with` and in `api_key` only: a prompt, condition or output never holds one."],
    ),
    "a sum of an input and a text": (
        steps("{id: b, use: shop.find, with: {name: a, limit: \"${{ inputs.n + 'x' }}\"}}"),
        ["11:70: the types do not fit: int + string; convert with double(x), int(x) or string(x), or write 2.0 for 2."],
    ),
}  # fmt: skip
