"""Each wrong file with the exact messages that a person gets."""

# ruff: noqa: E501 - a message stands here as it is read, in one piece

from __future__ import annotations

from pathlib import Path

import pytest
import wrong_types

from agentflow.core.errors import WorkflowFileError
from agentflow.core.registry import Registry
from agentflow.workflow.loader import load_workflow_text
from agentflow.workflow.project import load_components

HEAD = """\
version: 1
models: {planner: {provider: embedded}}
worlds: {table: {use: tabletop}}
workflows:
  w:
    inputs: {goal: {type: string}, n: {type: integer, default: 3}}
"""
RENDER = "use: robot_arm.render, with: {rollout: {}}"
OK = f"      - {{id: a, {RENDER}}}\n"
KEYS_OF_A_STEP = "id, if, use, agent, foreach, evaluate, approval, workflow, with, world, budget, guardrails, retry, timeout, output, cache"
KINDS = "use, agent, foreach, evaluate, approval, workflow"
METHODS = (
    "all, contains, endsWith, exists, existsOne, exists_one, filter, getDate, getDayOfMonth, getDayOfWeek, "
    "getDayOfYear, getFullYear, getHours, getMilliseconds, getMinutes, getMonth, getSeconds, map, matches, size, "
    "startsWith"
)


def steps(*lines: str) -> str:
    return HEAD + "    steps:\n" + "".join(f"      - {line}\n" for line in lines)


def workflow(section: str) -> str:
    return f"{HEAD}    {section}\n    steps:\n{OK}"


WRONG = {
    "nothing but a list": ("- 1\n", ["1:1: the file: found a list; allowed: a mapping with version, models, worlds, types, defaults, workflows."]),
    "no workflows": ("version: 1\n", ["1:1: 'workflows' is missing."]),
    "a key of the file that does not exist": (
        "version: 1\nworkflow: {}\n",
        ["1:1: 'workflows' is missing.",
         "2:1: unknown key 'workflow'. Did you mean 'workflows'? Allowed here: version, models, worlds, types, defaults, workflows."],
    ),
    "another version": (
        "version: 2\nworkflows: {w: {steps: [{id: a, use: x}]}}\n",
        ["1:10: this agentflow reads version 1. Write 'version: 1'.",
         "2:38: unknown tool 'x'. Known: robot_arm.render, robot_arm.what_if."],
    ),
    "no steps": (HEAD + "    steps: []\n", ["7:12: steps: found none; allowed: at least 1."]),
    "steps left empty": (HEAD + "    steps:\n", ["7:11: steps: found nothing; allowed: a list."]),
    "a key of an agent that does not exist": (
        steps("{id: a, agent: {model: planner, promt: x, prompt: y}}"),
        ["8:41: unknown key 'promt'. Did you mean 'prompt'? Allowed here: model, prompt, output, world, tools, rounds, "
         "candidates, horizon, keep, max_tokens."],
    ),
    "a key of a step that does not exist": (
        steps(f"{{id: a, {RENDER}, withs: 1}}"),
        [f"8:61: unknown key 'withs'. Did you mean 'with'? Allowed here: {KEYS_OF_A_STEP}."],
    ),
    "a step of no kind and one of two": (
        steps("{id: a}", "{id: b, use: robot_arm.render, approval: {message: ok}}"),
        [f"8:9: a step needs one of: {KINDS}.",
         "9:9: a step is of one kind; found use and approval. Make them two steps."],
    ),
    "a foreach that repeats nothing": (
        steps("{id: a, foreach: {in: '[1]'}}"),
        ["8:9: `foreach` repeats one of use, agent, workflow; found nothing."],
    ),
    "an id that is a reserved word": (
        steps(f"{{id: loop, {RENDER}}}"),
        ["8:14: 'loop' is a word of the expression language; choose another name."],
    ),
    "an id with a dash": (
        steps(f"{{id: a-b, {RENDER}}}"),
        ["8:14: 'a-b' cannot be a name here: it takes small letters, digits and _, and no digit first "
         "(in an expression, a-b is a subtraction)."],
    ),
    "an id that is a number": (steps(f"{{id: 7, {RENDER}}}"), ["8:14: id: found 7; allowed: text."]),
    "an id twice": (
        steps(f"{{id: a, {RENDER}}}", f"{{id: a, {RENDER}}}"),
        ["9:14: the step id 'a' stands here a second time; first on line 8."],
    ),
    "a key twice": (
        steps("{id: a, use: robot_arm.rendr, with: {rollout: {}}, use: x}"),
        ["8:22: unknown tool 'robot_arm.rendr'. Did you mean 'robot_arm.render'? Known: robot_arm.render, "
         "robot_arm.what_if.",
         "8:60: the key 'use' stands here a second time; first on line 8."],
    ),
    "a step that is not there": (
        steps(f"{{id: plan, {RENDER}}}", "{id: b, use: robot_arm.render, with: {rollout: '${{ steps.paln.output }}'}}"),
        ["9:61: unknown step 'paln'. Did you mean 'plan'? Steps before this one: plan."],
    ),
    "a step that comes later, and the step itself": (
        steps("{id: a, use: robot_arm.render, with: {rollout: '${{ steps.b.output }}'}}",
              "{id: b, use: robot_arm.render, with: {rollout: '${{ steps.b.output }}'}}"),
        ["8:61: step 'b' does not come before this one; a step reads earlier steps only.",
         "9:61: step 'b' does not come before this one; a step reads earlier steps only."],
    ),
    "what a step does not have": (
        steps(f"{{id: a, {RENDER}}}", "{id: b, use: robot_arm.render, with: {rollout: '${{ steps.a.outptu }}'}}"),
        ["9:61: a step has no 'outptu'. Did you mean 'output'? Of step 'a' can be read: output, status, ok, skipped, "
         "error, usage."],
    ),
    "all steps at once": (
        steps(f"{{id: a, if: size(steps) > 0, {RENDER}}}"),
        ["8:26: name a step, as in steps.<id>.output."],
    ),
    "an input that is not declared": (
        steps(f"{{id: a, if: inputs.gaol == 'x', {RENDER}}}"),
        ["8:21: unknown input 'gaol'. Did you mean 'goal'? Declared: goal, n."],
    ),
    "a part of an input that has none": (
        steps("{id: a, use: robot_arm.render, with: {rollout: '${{ inputs.goal.x }}'}}"),
        ["8:73: inputs.goal is text; it has no 'x'."],
    ),
    "an unknown tool": (
        steps("{id: a, use: robot_arm.rendr}"),
        ["8:22: unknown tool 'robot_arm.rendr'. Did you mean 'robot_arm.render'? Known: robot_arm.render, "
         "robot_arm.what_if."],
    ),
    "parameters that a tool does not take, needs, or is given by agentflow": (
        steps("{id: a, use: robot_arm.render, with: {rolout: {}, call: 1}}"),
        ["8:46: tool 'robot_arm.render' needs 'rollout'. Add it under `with`.",
         "8:47: tool 'robot_arm.render' does not take 'rolout'. Did you mean 'rollout'? It takes: rollout, fps.",
         "8:59: 'call' is filled in by agentflow; remove it."],
    ),
    "a plain value of the wrong type": (
        steps("{id: a, use: robot_arm.render, with: {rollout: {}, fps: fast}}"),
        ["8:65: tool 'robot_arm.render': 'fps' does not take 'fast': input should be a valid integer, unable to parse "
         "string as an integer."],
    ),
    "an input of the wrong type": (
        steps("{id: a, use: robot_arm.render, with: {rollout: {}, fps: '${{ inputs.goal }}'}}"),
        ["8:65: tool 'robot_arm.render': 'fps' takes a whole number; this gives text."],
    ),
    "an unknown guardrail": (
        workflow("guardrails: [{use: robot_arm.keepout, at: action}]"),
        ["7:24: unknown guardrail 'robot_arm.keepout'. Did you mean 'robot_arm.keep_out'? Known: robot_arm.keep_out, "
         "robot_arm.prompt_injection, robot_arm.trusted_horizon."],
    ),
    "a guardrail at a hook that it does not serve": (
        workflow("guardrails: [{use: robot_arm.keep_out, at: [action, input], with: {zone: x}}]"),
        ["7:57: guardrail 'robot_arm.keep_out' does not look at 'input'. It serves: action, predicted_state."],
    ),
    "a hook that does not exist": (
        workflow("guardrails: [{use: robot_arm.keep_out, at: actions, with: {zone: x}}]"),
        ["7:48: at: found 'actions'; allowed: 'input', 'plan', 'tool_args', 'action', 'predicted_state', 'frames', "
         "'tool_result', 'output' or 'resume'. Did you mean 'action'?"],
    ),
    "a guardrail without its parameter": (
        workflow("guardrails: [{use: robot_arm.keep_out, at: action, with: {zon: x}}]"),
        ["7:62: guardrail 'robot_arm.keep_out' needs 'zone'. Add it under `with`.",
         "7:63: guardrail 'robot_arm.keep_out' does not take 'zon'. Did you mean 'zone'? It takes: zone, margin_m."],
    ),
    "an action that does not exist": (
        workflow("guardrails: [{use: robot_arm.prompt_injection, at: input, on_fail: blok}]"),
        ["7:72: on_fail: found 'blok'; allowed: 'allow', 'block', 'redact', 'rewrite', 'degrade' or 'escalate'. "
         "Did you mean 'block'?"],
    ),
    "a budget with a negative, a word, a wrong unit and an infinite number": (
        workflow("budget: {tokens: -1, usd: lots, wall_clock: 15min, gpu_seconds: .inf, on_exhausted: stopp}"),
        ["7:22: tokens: found -1; allowed: at least 0.",
         "7:31: usd: found 'lots'; allowed: a number.",
         "7:49: found '15min'; allowed: seconds, or a duration such as 90s, 15m, 24h.",
         "7:69: found .inf; numbers must be finite.",
         "7:89: on_exhausted: found 'stopp'; allowed: 'stop', 'pause' or 'degrade'. Did you mean 'stop'?"],
    ),
    "retry and timeout out of range": (
        steps(f"{{id: a, {RENDER}, retry: {{attempts: 0}}, timeout: -3, cache: yes}}"),
        ["8:79: attempts: found 0; allowed: at least 1.",
         "8:92: found -3; a duration is from 0 to 1e9 seconds.",
         "8:103: cache: found 'yes'; allowed: true or false."],
    ),
    "an expression that is not CEL": (
        steps(f"{{id: a, if: inputs.n >, {RENDER}}}"), ["8:31: this is not CEL: it ends too early."],
    ),
    "a condition that gives a number": (
        steps(f"{{id: a, if: inputs.n, {RENDER}}}"), ["8:21: this gives a whole number; allowed: a condition."],
    ),
    "operands of two types": (
        steps(f"{{id: a, if: 0.5 + inputs.n > 1.0, {RENDER}}}"),
        ["8:25: the types do not fit: float + int; convert with double(x), int(x) or string(x), or write 2.0 for 2."],
    ),
    "a secret in a condition": (
        steps(f"{{id: a, if: secrets.X == '', {RENDER}}}"),
        ["8:21: secrets are read under `with` and in `api_key` only: a prompt, condition or output never holds one."],
    ),
    "braces around a bare expression": (
        steps(f"{{id: a, if: '${{{{ inputs.n > 1 }}}}', {RENDER}}}"),
        ["8:21: 'if' holds an expression already: leave out the ${{ and }}."],
    ),
    "a method that does not exist": (
        steps(f"{{id: a, if: inputs.goal.lenght() > 3, {RENDER}}}"),
        [f"8:33: unknown method 'lenght'. Allowed here: {METHODS}."],
    ),
    "a foreach over text, under a taken name": (
        steps(f"{{id: a, foreach: {{in: inputs.goal, as: steps}}, {RENDER}}}"),
        ["8:31: this gives text; allowed: a list.",
         "8:48: 'steps' already means something in expressions; choose another name."],
    ),
    "an expression that YAML cuts at a comma": (
        steps(f"{{id: a, foreach: {{in: inputs.l.map(x, x), as: y}}, {RENDER}}}"),
        ["8:45: this is not CEL: it ends too early. YAML ends the value at the comma: quote the expression.",
         "8:47: unknown key 'x)'. If it belongs to an expression, put that expression in quotes. Allowed here: in, as, "
         "max_parallel, on_error, min_success."],
    ),
    "an expression that YAML cuts at a comment": (
        HEAD + "    steps:\n      - id: a\n        use: robot_arm.render\n        with:\n"
        "          rollout: ${{ inputs.goal # why }}\n",
        ["11:20: quote this expression: YAML cuts it at ' #' as a comment. Write \"${{ … }}\"."],
    ),
    "a mistake in the middle of a long prompt": (
        HEAD + "    steps:\n      - id: a\n        agent:\n          model: planner\n          prompt: |\n"
        "            Hello,\n            reach ${{ inputs.gaol }} now.\n",
        ["13:23: unknown input 'gaol'. Did you mean 'goal'? Declared: goal, n."],
    ),
    "an unset secret": (
        steps("{id: a, use: robot_arm.render, with: {rollout: {key: '${{ secrets.ROBOT_KEY }}'}}}"),
        ["8:67: the secret 'ROBOT_KEY' is not set. Set the environment variable ROBOT_KEY; it is never taken as empty."],
    ),
    "models that are not": (
        "version: 1\nmodels:\n  a: {provider: opnai}\n  b: {model: x}\n"
        "  c: {provider: openai, model: m, api_key: sk-123}\n"
        "  d: {provider: openai, base_url: localhost}\n  F: {provider: embedded}\n"
        "workflows: {w: {steps: [{id: a, use: robot_arm.render, with: {rollout: {}}}]}}\n",
        ["3:17: provider: found 'opnai'; allowed: 'embedded', 'openai', 'langchain', 'local'. Did you mean 'openai'?",
         "4:6: 'provider' is missing. Allowed: 'embedded', 'openai', 'langchain' or 'local'.",
         '5:44: a key never stands in a file. Write api_key: "${{ secrets.NAME }}".',
         "6:6: 'model' is missing.",
         "6:35: base_url: found 'localhost'; allowed: an address that starts with http:// or https://.",
         "7:3: 'F' cannot be a name: it takes small letters, digits, _ and -."],
    ),
    "worlds that are not": (
        "version: 1\nworlds: {t: {use: tabletp}, u: {}, v: {url: 'http://x', device: cpu}}\n"
        "workflows: {w: {steps: [{id: a, use: robot_arm.render, with: {rollout: {}}}]}}\n",
        ["2:19: unknown world 'tabletp'. Did you mean 'tabletop'? Known: tabletop.",
         "2:32: a world needs `use` (an installed one) or `url` (a server), and not both.",
         "2:39: `device` and `weights` are the server's business; remove them beside `url`."],
    ),
    "an agent with an unknown model, world, tool and output": (
        steps("{id: a, agent: {model: plan, prompt: p, world: tabel, tools: [robot_arm.what], output: Pln, keep: 0}}"),
        ["8:32: unknown model 'plan'. Did you mean 'planner'? Known: planner.",
         "8:56: unknown world 'tabel'. Did you mean 'table'? Known: table.",
         "8:71: unknown tool 'robot_arm.what'. Did you mean 'robot_arm.what_if'? Known: robot_arm.render, "
         "robot_arm.what_if.",
         "8:96: unknown type 'Pln'. Did you mean 'Plan'? Declared under `types`: none.",
         '8:107: found 0; allowed: a whole number of at least 1, or "${{ … }}".'],
    ),
    "a tool without a world": (
        steps("{id: a, use: robot_arm.what_if, with: {scene: {}, actions: []}}").replace("{table: {use: tabletop}}", "{}"),
        ["8:22: the tool 'robot_arm.what_if' needs a world, and the file has none. Add one under `worlds`."],
    ),
    "one of two worlds": (
        steps("{id: a, use: robot_arm.what_if, with: {scene: {}, actions: []}}").replace(
            "{table: {use: tabletop}}", "{s: {use: tabletop}, t: {use: tabletop}}"),
        ["8:22: the tool 'robot_arm.what_if' needs one of several worlds. Write `world:` with one of: s, t."],
    ),
    "an evaluation with unknown scorers, names and steps": (
        steps(f"{{id: a, {RENDER}}}",
              "{id: b, evaluate: {over: steps.a.output.l, scorers: {goal: robot_arm.goal_dist}, select: {by: -gaol}, "
              "gate: best.goal < 1.0, on_gate_fail: {goto: c}}}",
              f"{{id: c, {RENDER}}}"),
        ["9:68: unknown scorer 'robot_arm.goal_dist'. Did you mean 'robot_arm.goal_distance'? Known: "
         "robot_arm.collision_risk, robot_arm.goal_distance.",
         "9:104: unknown name 'gaol'. Did you mean 'goal'? Allowed here: budget, goal, inputs, run, steps.",
         "9:155: goto leads back only; 'c' does not come before this step."],
    ),
    "an evaluation whose types do not fit": (
        steps(f"{{id: a, {RENDER}}}",
              "{id: b, evaluate: {over: steps.a.output.l, scorers: {risk: robot_arm.collision_risk}, "
              "select: {by: 1.0 - risk + 1}, gate: best.risk}}"),
        ["9:119: the types do not fit: float + int; convert with double(x), int(x) or string(x), or write 2.0 for 2.",
         "9:131: this gives a number; allowed: a condition."],
    ),
    "a way back without a gate": (
        steps(f"{{id: a, {RENDER}}}",
              "{id: b, evaluate: {over: steps.a.output.l, scorers: {r: robot_arm.collision_risk}, "
              "on_gate_fail: {goto: a}}}"),
        ["9:27: `on_gate_fail` needs a `gate`."],
    ),
    "an approval with what means nothing there": (
        steps("{id: a, approval: {message: ok}, timeout: 3s}", "{id: b, approval: {message: '', on_timeout: maybe}}"),
        ["8:9: `timeout` means nothing beside an approval. Write it inside `approval`.",
         "9:37: message: found an empty text; allowed: some text.",
         "9:53: on_timeout: found 'maybe'; allowed: 'reject' or 'approve'."],
    ),
    "workflows that run one another": (
        steps("{id: a, workflow: v}", "{id: b, workflow: u}")
        + "  v:\n    inputs: {y: {type: string}}\n    steps: [{id: a, workflow: w, with: {goal: g, x: 1}}]\n",
        ["8:9: workflow 'v' needs 'y'. Add it under `with`.",
         "9:27: unknown workflow 'u'. Known: v, w.",
         "12:31: these workflows run one another without end: w → v → w.",
         "12:50: workflow 'w' does not take 'x'. It takes: goal, n."],
    ),
    "inputs that contradict themselves": (
        "version: 1\nworkflows:\n  w:\n    inputs:\n      a: {type: text}\n      b: {type: integer, minimum: 4, maximum: 2}\n"
        "      c: {type: string, minimum: 1}\n      d: {type: integer, default: 0, minimum: 1}\n"
        "      e: {type: string, default: '${{ inputs.d }}'}\n      f-g: {type: string}\n    steps:\n" + OK,
        ["5:17: unknown type 'text'. Did you mean 'string'? Allowed: string, integer, number, boolean, object, array, any, "
         "'list of …', or a name from `types`, which starts with a capital letter.",
         "6:10: `minimum` is above `maximum`; no number fits.",
         "7:10: `minimum` is for type integer or number, not string.",
         "8:35: the default does not fit: found 0; allowed: at least 1.",
         "9:34: a default is a plain value; it cannot hold an expression.",
         "10:7: 'f-g' cannot be a name here: it takes small letters, digits and _, and no digit first "
         "(in an expression, a-b is a subtraction)."],
    ),
    "mistakes of every kind in one file": (
        steps(f"{{id: a, {RENDER}, timeout: soon}}", "{id: b, use: robot_arm.renderr}", "{id: c, agent: {prompt: 3}}",
              f"{{id: d, if: steps.c.output.x == 1 &, {RENDER}}}"),
        ["8:70: found 'soon'; allowed: seconds, or a duration such as 90s, 15m, 24h.",
         "9:22: unknown tool 'robot_arm.renderr'. Did you mean 'robot_arm.render'? Known: robot_arm.render, "
         "robot_arm.what_if.",
         "10:24: 'model' is missing.",
         "10:33: prompt: found 3; allowed: text.",
         "11:43: this is not CEL: token recognition error at: '&'."],
    ),
    "outputs that read what is not there": (
        steps(f"{{id: a, {RENDER}}}") + "    outputs:\n      x: ${{ steps.a.output.v }} and ${{ steps.zz.output }}\n",
        ["10:42: unknown step 'zz'. Steps before this one: a."],
    ),
    "an empty file": (
        "",
        ["1:1: the file is empty. Start it with 'version: 1'."],
    ),
    "a file of comments": (
        "# nothing yet\n",
        ["1:1: the file is empty. Start it with 'version: 1'."],
    ),
    "a key of the file twice": (
        "version: 1\nworkflows: {w: {steps: [{id: a, use: robot_arm.render, with: {rollout: {}}}]}}\nversion: 1\n",
        ["3:1: the key 'version' stands here a second time; first on line 1."],
    ),
    "two workflows of one name": (
        HEAD + "    steps:\n" + OK + "  w:\n    steps:\n" + OK,
        ["9:3: the key 'w' stands here a second time; first on line 5."],
    ),
    "an anchor and its alias": (
        HEAD + "    steps:\n      - &first {id: a, use: robot_arm.render, with: {rollout: {}}}\n      - *first\n",
        ["8:9: YAML anchors (&) are not taken. Remove the anchor, and write values out.",
            "9:9: YAML aliases (*) are not taken. Write the value out, or use an input."],
    ),
    "a merge key": (
        HEAD + "    steps:\n      - id: a\n        <<: {use: robot_arm.render}\n        with: {rollout: {}}\n",
        ["9:9: YAML merge keys (<<) are not taken. Write the values out."],
    ),
    "a tag": (
        HEAD + "    steps:\n      - id: a\n        use: !include render.yaml\n",
        ["9:14: YAML tags (!include) are not taken. Put text that starts with ! in quotes."],
    ),
    "a negation without quotes": (
        steps(f"{{id: a, if: !inputs.ready, {RENDER}}}"),
        ["8:21: a value that starts with ! is a YAML tag: quote this expression."],
    ),
    "an expression without quotes in braces": (
        steps("{id: a, use: robot_arm.render, with: {rollout: ${{ inputs.goal }}}}"),
        ['8:56: quote this expression: inside { } or [ ], YAML reads its braces as a mapping. Write "${{ … }}".'],
    ),
    "an expression without quotes that holds a colon": (
        HEAD + "    steps:\n      - id: a\n        use: robot_arm.render\n        with:\n          rollout: ${{ inputs.n > 1 ? 'a' : 'b' }}\n",
        ["11:20: quote this expression: YAML reads its ': ' as a mapping. Write \"${{ … }}\"."],
    ),
    "an expression that is not closed": (
        steps("{id: a, use: robot_arm.render, with: {rollout: '${{ inputs.goal'}}"),
        ["8:57: this ${{ is not closed; end the expression with }}."],
    ),
    "an expression that is closed with one brace": (
        steps("{id: a, use: robot_arm.render, with: {rollout: '${{ inputs.goal }'}}"),
        ["8:57: this ${{ is not closed; end the expression with }}."],
    ),
    "an empty expression": (
        steps("{id: a, use: robot_arm.render, with: {rollout: '${{ }}'}}"),
        ["8:61: the expression is empty."],
    ),
    "a bracket that is not closed": (
        "version: 1\nworkflows: {w: {steps: [{id: a}\n",
        ["3:1: this is not YAML: the [ of line 2, column 24 is not closed with ], or a comma is missing."],
    ),
    "a tab for an indent": (
        "version: 1\nworkflows:\n\tw: 1\n",
        ["3:1: a tab stands where YAML takes spaces only. Indent with spaces."],
    ),
    "steps that are a mapping": (
        HEAD + "    steps:\n      a: {use: robot_arm.render}\n",
        ["8:7: steps: found a mapping; allowed: a list."],
    ),
    "a step that is a text": (
        steps("render"),
        ["8:9: an item of steps: found 'render'; allowed: a mapping."],
    ),
    "a workflow that is a list": (
        "version: 1\nworkflows:\n  - w: {}\n",
        ["3:3: workflows: found a list; allowed: a mapping."],
    ),
    "a workflow with nothing in it": (
        "version: 1\nworkflows:\n  w:\n",
        ["3:5: w: found nothing; allowed: a mapping with description, inputs, budget, guardrails, steps, outputs."],
    ),
    "a number as a name": (
        "version: 1\nworkflows:\n  7: {steps: [{id: a, use: robot_arm.render, with: {rollout: {}}}]}\n",
        ["3:3: a key must be text; found 7. Put it in quotes."],
    ),
    "a version in quotes": (
        "version: '1'\nworkflows: {w: {steps: [{id: a, use: robot_arm.render, with: {rollout: {}}}]}}\n",
        ["1:10: this agentflow reads version 1, a number. Write 'version: 1' without quotes around the 1."],
    ),
    "no version": (
        "workflows: {w: {steps: [{id: a, use: robot_arm.render, with: {rollout: {}}}]}}\n",
        ["1:1: 'version' is missing. Start the file with 'version: 1'."],
    ),
    "words of other tools": (
        steps("{name: a, tool: robot_arm.render, args: {rollout: {}}}", "{id: b, use: robot_arm.render, when: 'true', inputs: {rollout: {}}, retries: 3}"),
        ["8:9: 'id' is missing. Give the step a name, such as id: render.",
            "8:10: unknown key 'name'. Did you mean 'id'? Allowed here: id, if, use, agent, foreach, evaluate, approval, workflow, with, world, budget, guardrails, retry, timeout, output, cache.",
            "8:19: unknown key 'tool'. Did you mean 'use'? Allowed here: id, if, use, agent, foreach, evaluate, approval, workflow, with, world, budget, guardrails, retry, timeout, output, cache.",
            "8:43: unknown key 'args'. Did you mean 'with'? Allowed here: id, if, use, agent, foreach, evaluate, approval, workflow, with, world, budget, guardrails, retry, timeout, output, cache.",
            "9:9: tool 'robot_arm.render' needs 'rollout'. Add it under `with`.",
            "9:40: unknown key 'when'. Did you mean 'if'? Allowed here: id, if, use, agent, foreach, evaluate, approval, workflow, with, world, budget, guardrails, retry, timeout, output, cache.",
            "9:54: unknown key 'inputs'. Did you mean 'with'? Allowed here: id, if, use, agent, foreach, evaluate, approval, workflow, with, world, budget, guardrails, retry, timeout, output, cache.",
            "9:77: unknown key 'retries'. Did you mean 'retry'? Allowed here: id, if, use, agent, foreach, evaluate, approval, workflow, with, world, budget, guardrails, retry, timeout, output, cache."],
    ),
    "a retry that is a number and an approval that is a text": (
        steps(f"{{id: a, {RENDER}, retry: 3}}", "{id: b, approval: Render this?}"),
        ["8:68: retry: found 3; allowed: a mapping with attempts, backoff.",
            "9:27: approval: found 'Render this?'; allowed: a mapping with message, show, answers, timeout, on_timeout."],
    ),
    "a step named like a root, and a foreach's item named so": (
        steps(f"{{id: inputs, {RENDER}}}", f"{{id: b, foreach: {{in: '[1]', as: inputs}}, {RENDER}}}"),
        ["9:42: 'inputs' already means something in expressions; choose another name."],
    ),
    "a reserved word as an input": (
        "version: 1\nworkflows: {w: {inputs: {in: string, best: string}, steps: [{id: a, use: robot_arm.render, with: {rollout: {}}}]}}\n",
        ["2:26: 'in' is a word of the expression language; choose another name."],
    ),
    "a parallel foreach beyond all bounds": (
        steps(f"{{id: a, foreach: {{in: '[1]', max_parallel: 5000, on_error: skip, min_success: 0}}, {RENDER}}}"),
        ["8:52: max_parallel: found 5000; allowed: at most 1000.",
            "8:68: on_error: found 'skip'; allowed: 'fail' or 'collect'.",
            "8:87: min_success: found 0; allowed: at least 1."],
    ),
    "an agent without a prompt": (
        steps("{id: a, agent: {model: planner}}"),
        ["8:24: 'prompt' is missing."],
    ),
    "an agent whose name alone is given": (
        steps("{id: a, agent: planner}"),
        ["8:24: agent: found 'planner'; allowed: a mapping with model, prompt, output, world, tools, rounds, candidates, horizon, keep, max_tokens."],
    ),
    "a budget that is a number": (
        workflow("budget: 0.5"),
        ["7:13: budget: found 0.5; allowed: a mapping with tokens, usd, gpu_seconds, frames, wall_clock, on_exhausted."],
    ),
    "whole numbers that are too large or no whole numbers": (
        workflow("budget: {tokens: 99999999999999999999, frames: 1.5, usd: '0.5'}"),
        ["7:22: found 99999999999999999999; whole numbers have at most 64 bits.",
            "7:52: frames: found 1.5; allowed: a whole number.",
            "7:62: usd: found '0.5'; allowed: a number, without quotes."],
    ),
    "a world beside what takes none": (
        steps("{id: a, approval: {message: ok}, world: table}"),
        ["8:42: `world` goes with a tool; remove it here."],
    ),
    "an unknown world of a tool": (
        steps("{id: a, use: robot_arm.what_if, with: {scene: {}, actions: []}, world: tabel}"),
        ["8:80: unknown world 'tabel'. Did you mean 'table'? Known: table."],
    ),
    "a workflow that is not there": (
        steps("{id: a, workflow: x}"),
        ["8:27: unknown workflow 'x'. Known: w."],
    ),
    "a workflow that runs itself": (
        steps("{id: a, workflow: w, with: {goal: x}}"),
        ["8:27: these workflows run one another without end: w → w."],
    ),
    "a way back to the step itself": (
        steps(f"{{id: a, {RENDER}}}", "{id: b, evaluate: {over: '[1]', scorers: {r: robot_arm.collision_risk}, gate: best.r < 0.5, on_gate_fail: {goto: b}}}"),
        ["9:122: goto leads back only; 'b' does not come before this step."],
    ),
    "a scorer's parameter that no scorer takes": (
        steps("{id: b, evaluate: {over: '[1]', scorers: {r: robot_arm.collision_risk}}, with: {goal: {}}}"),
        ["8:89: no scorer of this step takes 'goal'. They take nothing."],
    ),
    "secrets in an output and a condition": (
        steps(f"{{id: a, {RENDER}}}") + "    outputs: {key: '${{ secrets.ROBOT_KEY }}'}\n",
        ["9:25: secrets are read under `with` and in `api_key` only: a prompt, condition or output never holds one."],
    ),
    "a secret without a name": (
        steps("{id: a, use: robot_arm.render, with: {rollout: {keys: '${{ secrets }}'}}}"),
        ["8:68: name a secret, as in secrets.NAME."],
    ),
    "a list that is too deep": (
        "version: 1\nworkflows: " + "[" * 100,
        ["2:43: nested deeper than 32 levels."],
    ),
    "a function that does not exist": (
        steps(f"{{id: a, if: len(inputs.goal) > 3, {RENDER}}}"),
        ["8:21: unknown function 'len'. Allowed here: bytes, double, duration, dyn, has, int, size, string, timestamp, type, uint."],
    ),
    "a comprehension within comprehensions": (
        steps(f"{{id: a, if: '[1].all(a, [1].all(b, [1].all(c, a + b + c > 0)))', {RENDER}}}"),
        ["8:22: 3 comprehensions inside one another; at most 2 are taken."],
    ),
    "a control character": (
        "version: 1\nworkflows: {w: \x07}\n",
        ["2:16: the character U+0007 is not allowed in YAML. Remove it."],
    ),
    "two documents": (
        "version: 1\n---\nversion: 1\n",
        ["2:1: a second YAML document starts here; a file holds one."],
    ),
}  # fmt: skip


@pytest.fixture
def registry(design_file: Path) -> Registry:
    found, problems = load_components(design_file.parent)
    assert problems == []
    own = Registry()  # without what the box offers, so that the messages stay the same when the box grows
    for name in found.tools.names():
        if name.startswith("robot_arm."):
            own.add(found.tools.get(name))
    for name in found.guardrails.names():
        if name.startswith("robot_arm."):
            own.add(found.guardrails.get(name))
    for name in found.scorers.names():
        if name.startswith("robot_arm."):
            own.add(found.scorers.get(name))
    return own


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_gets_exactly_these_messages(name: str, registry: Registry) -> None:
    text, expected = WRONG[name]
    with pytest.raises(WorkflowFileError) as caught:
        load_workflow_text(text, registry, file="f", worlds={"tabletop"}, secrets={})
    assert [str(problem) for problem in caught.value.problems] == [f"f:{line}" for line in expected]


@pytest.mark.parametrize("name", wrong_types.WRONG)
def test_a_reference_or_value_that_does_not_fit_its_type_gets_exactly_these_messages(name: str) -> None:
    text, expected = wrong_types.WRONG[name]
    with pytest.raises(WorkflowFileError) as caught:
        load_workflow_text(text, wrong_types.shop(), file="f", worlds={"tabletop"}, secrets={})
    assert [str(problem) for problem in caught.value.problems] == [f"f:{line}" for line in expected]


def test_the_count_of_mistakes_ends_the_message(registry: Registry) -> None:
    with pytest.raises(WorkflowFileError) as caught:
        load_workflow_text(steps("{id: a}"), registry, file="f", secrets={})
    assert str(caught.value).endswith("\n1 mistake")


@pytest.mark.parametrize(
    ("step", "last"),
    [
        ("{id: a}, ", "and 200 more mistakes, which are not listed. Correct these first."),
        ("{id: a, use: t}, ", "and more mistakes, which are not listed. Correct these first."),
    ],
)
def test_a_hopeless_file_names_its_first_hundred_mistakes(step: str, last: str) -> None:
    text = "version: 1\nworkflows: {w: {steps: [" + step * 300 + "]}}\n"
    with pytest.raises(WorkflowFileError) as caught:
        load_workflow_text(text, file="f", secrets={})
    assert len(caught.value.problems) == 101
    assert caught.value.problems[-1].message == last
