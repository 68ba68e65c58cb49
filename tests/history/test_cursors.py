from hypothesis import given
from hypothesis import strategies as st

from fitcast.history.cursors import OVERLAP_MS, Cursor

NOW = 1_800_000_000_000

# When each save was marked, and how much later it could be seen: clocks differ, commits take time
saves = st.lists(st.tuples(st.integers(0, 10**8), st.integers(0, OVERLAP_MS)), max_size=30)


@given(saves=saves, readings=st.lists(st.integers(0, 2 * 10**8), max_size=8))
def test_every_save_is_read_exactly_once(saves, readings):
    store = [(f"r{n}", NOW + at, NOW + at + late) for n, (at, late) in enumerate(saves)]
    text, read = None, []
    for now in [*sorted(NOW + r for r in readings), NOW + 10**9]:
        cursor = Cursor.parse(text, "e")
        new = [
            (run, saved_at)
            for run, saved_at, visible_at in store
            if visible_at <= now
            and saved_at >= cursor.read_from_ms
            and not cursor.knows((run, saved_at))
        ]
        read += new
        text = cursor.after(new).text()
    assert sorted(read) == sorted((run, saved_at) for run, saved_at, _ in store)


def test_the_text_forgets_what_lies_before_the_overlap():
    cursor = Cursor("e").after([(f"r{n}", NOW + n * OVERLAP_MS) for n in range(100)])
    assert len(Cursor.parse(cursor.text(), "e").seen) == 2
