import math
from typing import Any

import numpy as np
import pytest
import torch

from agentflow.core.errors import InvalidInputError
from agentflow.worldmodel.render import Canvas, View, box, capsule, disc
from agentflow.worldmodel.worlds.tabletop import draw, scene, timeline

RED = scene.body_slice(0).start
BLUE = scene.body_slice(1).start
GREEN, GLASS = scene.body_slice(2).start, scene.body_slice(3).start
ROW = len(scene.ENTITIES)


def still_life(count: int = 1) -> np.ndarray:
    """A state in which nothing covers another: the tip low on the left, its arm to the right."""
    state = np.zeros((count, scene.STATE_SIZE), np.float32)
    state[:, 0:2] = -0.4, -0.4
    for start, x, y in ((RED, -0.2, 0.2), (BLUE, 0.2, 0.3), (GREEN, -0.3, -0.1), (GLASS, 0.05, 0.1)):
        state[:, start : start + 3] = x, y, 1.0
    return state


def frames_of(states: np.ndarray, **options: Any) -> list[np.ndarray]:
    return list(draw.render(states, **{"subframes": 1, **options}))


def pixel_at(image: np.ndarray, x: float, y: float) -> np.ndarray:
    column, row = draw.view_of((image.shape[1], image.shape[0])).pixel(x, y)
    return image[row, column].astype(int)


def changed(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a.astype(int) - b.astype(int)).max(-1) > 2


def test_distances_are_negative_inside_zero_on_the_edge_and_metric_outside() -> None:
    x, y = torch.tensor([[0.0, 1.0, 4.0]]), torch.tensor([[0.0, 0.0, 4.0]])
    assert disc(x, y, 1.0)[0].tolist() == pytest.approx([-1.0, 0.0, math.sqrt(32) - 1])
    assert box(x, y, 1.0, 1.0, 0.0)[0].tolist() == pytest.approx([-1.0, 0.0, math.sqrt(18)])
    assert box(x, y, 1.0, 2.0, 1.0)[0].tolist() == pytest.approx([-1.0, 0.0, math.hypot(4, 3) - 1])
    line = capsule(x, y, (-1.0, 0.0), (1.0, 0.0), 0.5)
    assert line[0].tolist() == pytest.approx([-0.5, -0.5, 5.0 - 0.5])


def test_the_edge_of_a_disc_is_anti_aliased_and_its_area_is_right() -> None:
    canvas = Canvas(View(40, 40, scale=100.0, left=-0.2, top=0.2))
    patch = canvas.around([(0.013, -0.008)], 0.1)
    assert patch is not None
    alpha = patch.cover(disc(patch.x - 0.013, patch.y + 0.008, 0.1))
    patch.paint((255, 255, 255), alpha)
    image = canvas.image()[..., 0]
    assert set(np.unique(image)) > {0, 255}
    assert ((image > 0) & (image < 255)).sum() > 40
    assert image.sum() / 255 / 100.0**2 == pytest.approx(math.pi * 0.1**2, rel=0.01)


def test_what_is_out_of_sight_has_no_patch_and_what_is_half_in_sight_is_clipped() -> None:
    canvas = Canvas(View(40, 30, scale=100.0, left=-0.2, top=0.15))
    assert canvas.around([(3.0, 0.0)], 0.1) is None
    assert canvas.around([(0.0, -9e5)], 0.1) is None
    patch = canvas.around([(0.195, 0.145)], 0.05)
    assert patch is not None
    assert patch.pixels.shape == (3, 7, 7)
    assert patch.x.shape == (1, 7)
    assert float(patch.x[0, -1]) == pytest.approx(0.195)


def test_each_body_has_its_colour_where_it_lies() -> None:
    image = frames_of(still_life())[0]
    for body, start in zip(scene.BODIES[:3], (RED, BLUE, GREEN), strict=True):
        x, y = still_life()[0, start : start + 2]
        assert np.abs(pixel_at(image, x, y) - body.colour).max() < 25, body.name
    glass, table = pixel_at(image, 0.05, 0.1), pixel_at(image, 0.4, 0.0)
    assert table[0] - table[2] > 20
    assert abs(glass[0] - glass[2]) < 12


def test_a_turned_block_covers_what_its_angle_says() -> None:
    flat, upright = still_life(), still_life()
    upright[0, BLUE + 2 : BLUE + 4] = 0.0, 1.0
    blue = np.array(scene.BODIES[1].colour)
    end, side = (0.2 + 0.075, 0.3), (0.2, 0.3 + 0.075)
    for states, covered, bare in ((flat, end, side), (upright, side, end)):
        image = frames_of(states)[0]
        assert np.abs(pixel_at(image, *covered) - blue).max() < 60
        assert np.abs(pixel_at(image, *bare) - blue).max() > 60


def test_the_arm_reaches_from_its_base_over_an_elbow_on_the_right_to_the_tip() -> None:
    states = still_life()
    states[0, 0:2] = 0.0, 0.2
    image = frames_of(states)[0]
    elbow_x = math.sqrt(scene.LINKS[0] ** 2 - ((0.2 - scene.BASE[1]) / 2) ** 2)
    elbow_y = (0.2 + scene.BASE[1]) / 2
    for share in (0.3, 0.6):
        dark = pixel_at(image, share * elbow_x, scene.BASE[1] + share * (elbow_y - scene.BASE[1]))
        assert dark.max() < 140
    assert pixel_at(image, -elbow_x / 2, elbow_y).min() > 140
    orange = pixel_at(image, 0.0 - 0.017, 0.2)
    assert orange[0] > orange[2] + 80


def test_halos_grow_with_the_radius_in_time() -> None:
    states = still_life(4)
    radius = np.zeros((4, ROW), np.float32)
    radius[:, 1] = 0.0, 0.01, 0.03, 0.06
    without, with_halo = frames_of(states), frames_of(states, radius90=radius)
    touched = [int(changed(a, b).sum()) for a, b in zip(without, with_halo, strict=True)]
    assert touched[0] == 0
    assert touched[0] < touched[1] < touched[2] < touched[3]
    # The halo is the outline grown by the radius: it ends 6 cm beside the block's edge.
    edge = -0.2 - scene.BODIES[0].half_x
    difference = changed(without[3], with_halo[3])[..., None]
    assert pixel_at(difference, edge - 0.055, 0.2).any()
    assert not pixel_at(difference, edge - 0.067, 0.2).any()


def test_halos_follow_every_entity_and_tiny_ones_are_not_drawn() -> None:
    states = still_life()
    plain = frames_of(states)[0]
    for entity in range(ROW):
        radius = np.zeros((1, ROW), np.float32)
        radius[0, entity] = 0.001
        assert np.array_equal(frames_of(states, radius90=radius)[0], plain)
        radius[0, entity] = 0.03
        rows, columns = np.nonzero(changed(frames_of(states, radius90=radius)[0], plain))
        x, y = scene.positions(states)[0, entity]
        column, row = draw.view_of((480, 480)).pixel(x, y)
        assert abs(rows.mean() - row) < 6
        assert abs(columns.mean() - column) < 6


def bar_colours(image: np.ndarray, steps: int) -> list[np.ndarray]:
    strip = timeline.Timeline(draw.view_of((480, 480)), steps, None)
    return [pixel_at(image, *strip.place(step + 0.5)) for step in range(steps)]


def test_the_strip_shows_which_part_of_the_clip_is_trusted() -> None:
    last = frames_of(still_life(11), trusted_steps=6)[-1]
    teal = [bool(g > r) for r, g, _ in bar_colours(last, 10)[:9]]
    assert teal == [True] * 6 + [False] * 3
    all_trusted = frames_of(still_life(11), trusted_steps=10)[-1]
    assert all(g > r for r, g, _ in bar_colours(all_trusted, 10)[:9])
    unclaimed = frames_of(still_life(11))[-1]
    assert all(abs(int(r) - int(b)) < 40 for r, _, b in bar_colours(unclaimed, 10)[:9])


def test_the_playhead_moves_and_what_is_played_is_bright() -> None:
    frames = frames_of(still_life(11), trusted_steps=10)
    first, middle, last = (np.array(bar_colours(frames[i], 10)).sum(-1) for i in (0, 5, 10))
    assert (last[1:9] > first[1:9] + 60).all()
    assert (middle[1:4] == last[1:4]).all()
    assert (middle[6:9] == first[6:9]).all()
    strip = timeline.Timeline(draw.view_of((480, 480)), 10, 10)
    assert pixel_at(frames[5], *strip.place(5.0)).min() > 240


def test_the_border_turns_amber_only_beyond_the_trusted_horizon() -> None:
    frames = frames_of(still_life(11), trusted_steps=6)
    corner = [frame[3, 240].astype(int) for frame in frames]
    assert all(np.abs(pixel - corner[0]).max() == 0 for pixel in corner[:7])
    assert all(pixel[0] - pixel[2] > 80 for pixel in corner[7:])


def test_the_goal_is_drawn_in_the_colour_of_its_body() -> None:
    plain = frames_of(still_life())[0]
    for body in scene.BODIES[:3]:
        image = frames_of(still_life(), goal=(0.3, 0.0), goal_body=body.name)[0]
        cross = pixel_at(image, 0.3, 0.0)
        assert np.abs(cross - body.colour).max() < 70
        assert changed(image, plain).sum() > 300
    unnamed = frames_of(still_life(), goal=(0.3, 0.0))[0]
    assert changed(unnamed, plain).sum() > 300


def test_frames_between_states_move_straight_and_turn_the_short_way() -> None:
    states = still_life(2)
    states[1, GREEN : GREEN + 2] = -0.1, -0.1
    states[0, BLUE + 2 : BLUE + 4] = math.cos(math.radians(170)), math.sin(math.radians(170))
    states[1, BLUE + 2 : BLUE + 4] = math.cos(math.radians(-170)), math.sin(math.radians(-170))
    frames = list(draw.render(states, subframes=4))
    assert len(frames) == 5
    halfway = still_life()
    halfway[0, GREEN : GREEN + 2] = -0.2, -0.1
    halfway[0, BLUE + 2 : BLUE + 4] = -1.0, 0.0
    above_the_strip = slice(0, 440)
    expected = frames_of(halfway)[0][above_the_strip].astype(int)
    assert np.abs(frames[2][above_the_strip].astype(int) - expected).max() <= 2


def test_the_same_state_looks_the_same_at_another_resolution() -> None:
    options: dict[str, Any] = {
        "goal": (0.3, 0.0),
        "goal_body": "red block",
        "radius90": np.full((1, ROW), 0.03),
        "trusted_steps": 0,
    }
    large = frames_of(still_life(), size=(480, 480), **options)[0].astype(float)
    small = frames_of(still_life(), size=(240, 240), **options)[0].astype(float)
    shrunk = large.reshape(240, 2, 240, 2, 3).mean((1, 3))
    difference = np.abs(shrunk - small)
    assert difference.mean() < 1.5
    assert np.quantile(difference, 0.995) < 25


@pytest.mark.parametrize("size", [(640, 360), (200, 320), (33, 47)])
def test_any_size_holds_the_table_and_gives_frames_of_that_size(size: tuple[int, int]) -> None:
    image = frames_of(still_life(), size=size)[0]
    assert image.shape == (size[1], size[0], 3)
    assert image.dtype == np.uint8
    view = draw.view_of(size)
    for x in (-0.5, 0.5):
        for y in (-0.5, 0.5):
            column, row = view.pixel(x, y)
            assert 0 <= column < size[0]
            assert 0 <= row < size[1]


def test_frames_are_drawn_on_demand_and_belong_to_their_taker() -> None:
    states = still_life(3)
    states[1:, GREEN] = 0.3
    frames = draw.render(states, subframes=1)
    first = next(frames)
    kept = first.copy()
    second = next(frames)
    assert np.array_equal(first, kept)
    assert changed(first, second).any()


def test_a_contact_sheet_shows_the_first_and_the_last_state() -> None:
    states = still_life(9)
    states[:, GREEN] = np.linspace(-0.3, 0.3, 9)
    sheet = draw.contact_sheet(states, 3, size=(120, 120), trusted_steps=4)
    frames = frames_of(states, size=(120, 120), trusted_steps=4)
    gap = sheet.shape[1] - 3 * 120
    assert sheet.shape[0] == 120
    assert np.array_equal(sheet[:, :120], frames[0])
    assert np.array_equal(sheet[:, 120 + gap // 2 :][:, :120], frames[4])
    assert np.array_equal(sheet[:, -120:], frames[8])


def test_a_state_far_outside_the_table_is_drawn_as_far_as_it_is_seen() -> None:
    states = still_life()
    states[0, 0:2] = 5.0, 5.0
    states[0, RED] = 900.0
    assert frames_of(states, goal=(0.0, 0.0), goal_body="red block")[0].shape == (480, 480, 3)


def broken(column: int, value: float) -> np.ndarray:
    states = still_life(3)
    states[1, column] = value
    return states


@pytest.mark.parametrize(
    ("states", "options", "names"),
    [
        (broken(7, math.nan), {}, "states[1, 7]"),
        (broken(0, math.inf), {}, "states[1, 0]"),
        (still_life(3)[:, :-1], {}, "shape (3, 33)"),
        (still_life(3)[0], {}, "shape (34,)"),
        (still_life(0), {}, "number of states"),
        ([["a"] * 34], {}, "found list"),
        (still_life(3), {"radius90": np.zeros((2, ROW))}, "radius90"),
        (still_life(3), {"radius90": np.full((3, ROW), math.nan)}, "radius90[0, 0]"),
        (still_life(3), {"radius90": np.full((3, ROW), -0.1)}, "-0.1 m"),
        (still_life(3), {"trusted_steps": -1}, "trusted_steps"),
        (still_life(3), {"goal": (0.1, math.nan)}, "goal[1]"),
        (still_life(3), {"goal": (0.1, 0.2, 0.3)}, "goal"),
        (still_life(3), {"goal": (0.1, 0.2), "goal_body": "cup"}, "'cup'"),
        (still_life(3), {"size": (480, 0)}, "height"),
        (still_life(3), {"size": (100_000, 480)}, "width"),
        (still_life(3), {"subframes": 0}, "subframes"),
        (still_life(3), {"device": "abacus"}, "'abacus'"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_the_first_frame(
    states: np.ndarray, options: dict[str, Any], names: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        draw.render(states, **options)
    assert names in str(caught.value)


def test_a_contact_sheet_of_no_moment_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="times"):
        draw.contact_sheet(still_life(), 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_draws_what_the_cpu_draws() -> None:
    radius = np.full((1, ROW), 0.03)
    on_cpu, on_gpu = (frames_of(still_life(), radius90=radius, device=d)[0] for d in ("cpu", "cuda"))
    assert np.abs(on_cpu.astype(int) - on_gpu.astype(int)).max() <= 2
