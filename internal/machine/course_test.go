package machine

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// courseFlow has what makes expectations differ: a join, an undo that emits, and two ends.
func courseFlow() *Flow {
	return &Flow{
		Starts: "start", Completes: "good", Compensates: "bad", Deadline: time.Minute,
		Reactions: []Reaction{
			{Service: "a", Name: "do", On: []string{"start"}, Emits: []string{"a-done", "a-failed"}},
			{Service: "a", Name: "undo", On: []string{"b-failed"}, Undoes: "do", Emits: []string{"a-undone"}},
			{Service: "b", Name: "check", On: []string{"start"}, Emits: []string{"b-done", "b-failed"}},
			{Service: "c", Name: "end", On: []string{"a-done", "b-done"}, All: true, Emits: []string{"good"}},
			{Service: "c", Name: "cancel", On: []string{"a-failed", "b-failed", "a-undone"}, Emits: []string{"bad"}},
			{Service: "d", Name: "listen", On: []string{"start"}},
		},
	}
}

// follow starts a course and shows it events.
func follow(t *testing.T, f *Flow, events ...string) Course {
	t.Helper()
	c, _, err := Follow(f, Course{}, Start{}, noon)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if c, _, err = Follow(f, c, Seen{e, "x"}, noon); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func TestAStalledCourseNamesWhatItExpects(t *testing.T) {
	for seen, want := range map[string]string{
		"":                  "stalled: expects a-done or a-failed from a; b-done or b-failed from b",
		"a-done":            "stalled: expects b-done or b-failed from b",
		"a-done b-done":     "stalled: expects good from c",
		"b-failed":          "stalled: expects bad from c", // not what "do" emits: its undo may have come first
		"a-done b-failed":   "stalled: expects a-undone from a; bad from c",
		"a-failed b-failed": "stalled: expects a-undone from a; bad from c",
	} {
		t.Run(seen, func(t *testing.T) {
			f := courseFlow()
			c, records, err := Follow(f, follow(t, f, strings.Fields(seen)...), Timeout{}, noon.Add(time.Minute))
			if err != nil || c.Status != Parked || c.Reason != want || !c.DueAt.IsZero() || records[0].Detail != want {
				t.Errorf("%+v, %v\nwant: %s", c, err, want)
			}
		})
	}
}

func TestACourseWithNothingOutstandingSaysSo(t *testing.T) {
	f := &Flow{Starts: "start", Completes: "good", Deadline: time.Minute, Reactions: []Reaction{{Service: "a", Name: "listen", On: []string{"start"}}}}
	c, _, err := Follow(f, follow(t, f), Timeout{}, noon.Add(time.Minute))
	if err != nil || !strings.Contains(c.Reason, "no good came") {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestAnEndIsForEver(t *testing.T) {
	f := courseFlow()
	for end, status := range map[string]Status{"good": Completed, "bad": Compensated} {
		c := follow(t, f, "b-failed", end)
		if c.Status != status || !c.DueAt.IsZero() {
			t.Errorf("after %s: %+v", end, c)
		}
		if end == "bad" && c.Reason != "b-failed" {
			t.Errorf("compensated for %q", c.Reason)
		}
		for _, event := range []Event{Seen{"good", "c"}, Seen{"bad", "c"}, Seen{"a-done", "a"}, Timeout{}} {
			after, records, err := Follow(f, c, event, noon.Add(time.Hour))
			after.Entries = c.Entries
			if err != nil || after.Status != status || !slices.Equal(after.Seen, c.Seen) || len(records) > 1 {
				t.Errorf("%T after the end: %+v, %+v, %v", event, after, records, err)
			}
		}
		if _, _, err := Follow(f, c, Resume{}, noon); !errors.Is(err, ErrNotParked) {
			t.Errorf("resumed after the end: %v", err)
		}
	}
}

func TestTheCourseGivenIsNotChanged(t *testing.T) {
	f := courseFlow()
	before := follow(t, f, "a-done")
	before.Seen = append(make([]string, 0, 8), before.Seen...) // with room for more
	var after []Course
	for _, e := range []string{"b-done", "b-failed"} {
		c, _, err := Follow(f, before, Seen{e, "b"}, noon)
		if err != nil {
			t.Fatal(err)
		}
		after = append(after, c)
	}
	if !slices.Equal(before.Seen, []string{"start", "a-done"}) || before.Entries != 2 || after[0].Seen[2] != "b-done" {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

func TestWhatIsNoneOfACoursesBusiness(t *testing.T) {
	f := courseFlow()
	c := follow(t, f)
	for _, event := range []Event{Start{}, Answer{Step: "do"}} {
		if after, records, err := Follow(f, c, event, noon); err == nil || len(records) > 0 || after.Entries != c.Entries {
			t.Errorf("%T: %+v, %+v, %v", event, after, records, err)
		}
	}
}
