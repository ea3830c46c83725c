package skaldtest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/saga"
)

// written reads a history in a short form, an operation or an end in each part. "A1 r x=5" is a read by saga A in the do of its step
// 1, of the item x, which is 5; "A1' w x=4" a write in its undo, "A1 + x=2" an addition, "A1#2 r x=5" one of
// its second start. "A ok" and "A back" are ends, and "broken" is a rule that does not hold in the end.
func written(t testing.TB, text string) History {
	t.Helper()
	h := History{Ended: map[string]saga.Status{}}
	for part := range strings.SplitSeq(text, ";") {
		fields := strings.Fields(part)
		switch {
		case len(fields) == 1 && fields[0] == "broken":
			h.Broken = []string{"the rule"}
		case len(fields) == 2:
			h.Ended[fields[0]] = map[string]saga.Status{"ok": saga.Completed, "back": saga.Compensated}[fields[1]]
		case len(fields) == 3:
			h.Operations = append(h.Operations, operation(fields[0], fields[1], fields[2]))
		default:
			t.Fatalf("history %q: what is %q?", text, part)
		}
	}
	return h
}

func operation(who, what, item string) Operation {
	o := Operation{Saga: who[:1], Action: skald.ActionDo, Kind: map[string]OperationKind{"r": OperationRead, "w": OperationWrite, "+": OperationAdd}[what]}
	who, round, _ := strings.Cut(who[1:], "#")
	o.Round, _ = strconv.Atoi(round)
	if step, undo := strings.CutSuffix(who, "'"); undo {
		who, o.Action = step, skald.ActionUndo
	}
	o.Step = who
	o.Item, o.Value, _ = strings.Cut(item, "=")
	return o
}

// summary is a finding in short: what happens to whom by whom, and the operations' numbers.
func (f Finding) summary() string {
	return fmt.Sprintf("%s of %s by %s on %s at %v", f.Anomaly, f.Saga, f.Other, f.Item, f.At)
}

func TestAnomaliesAreFoundInHistoriesThatHaveThem(t *testing.T) {
	for _, c := range []struct{ name, history, want string }{
		{"what was read is taken back", "A1 w x=5; B1 r x=5; A1' w x=0; A back; B ok", "dirty read of B by A on x at [0 1 2]"},
		{"an addition that was read is taken back", "A1 + x=5; B1 r x=5; A1' + x=-5; A back; B ok", "dirty read of B by A on x at [0 1 2]"},
		{"below another's addition", "A1 + x=5; C1 + x=1; B1 r x=6; A1' + x=-5; A back; B ok; C ok", "dirty read of B by A on x at [0 2 3]"},
		{"the undo of another step takes it back", "A1 w x=5; B1 r x=5; A2' w x=0; A back; B ok", "dirty read of B by A on x at [0 1 2]"},
		{"it was taken back, and the saga that started again is done", "A1 w x=5; B1 r x=5; A1' w x=0; A1#1 w x=5; A ok; B ok", "dirty read of B by A on x at [0 1 2]"},
		{"the reader writes then, and its write is overwritten by the undo", "A1 w x=5; B1 r x=5; B1 w x=6; A1' w x=0; A back; B ok", "dirty read of B by A on x at [0 1 3], lost update of B by A on x at [0 2 3]"},

		{"a value from before another's write is written", "A1 r x=9; B1 r x=9; B2 w x=8; A2 w x=7; A ok; B ok", "lost update of B by A on x at [0 2 3]"},
		{"another's addition is overwritten", "A1 r x=9; B1 + x=-1; A2 w x=7; A ok; B ok", "lost update of B by A on x at [0 1 2]"},
		{"an undo puts the old value back", "A1 r x=9; A2 w x=8; B1 r x=8; B1 w x=7; A2' w x=9; A back; B back", "lost update of B by A on x at [1 3 4]"},
		{"it was never read", "A1 r y=0; B1 w x=1; A2 w x=2; A ok; B ok", "lost update of B by A on x at [1 2]"},
		{"by a saga that is undone afterwards", "A1 r x=9; B1 w x=8; A2 w x=7; A2' w x=9; A back; B ok", "lost update of B by A on x at [0 1 2]"},
		{"what is lost is taken back by an addition", "A1 r x=9; B1 r x=9; A2 w x=8; B2 w x=8; A2' + x=1; A back; B ok", "lost update of A by B on x at [1 2 3]"},
		{"the undo of what was read is overwritten", "B1 w x=8; A1 r x=8; B1' w x=9; A2 w x=7; A ok; B back", "dirty read of A by B on x at [0 1 2], lost update of B by A on x at [1 2 3]"},

		{"two reads see two values", "A1 r x=9; B1 w x=8; A2 r x=8; A ok; B ok", "fuzzy read of A by B on x at [0 1 2]"},
		{"what it wrote itself is another value", "A1 w x=9; B1 r x=9; B1 w x=8; A2 r x=8; A ok; B ok", "fuzzy read of A by B on x at [0 2 3]"},
		{"its own addition does not explain it", "A1 r x=9; A1 + x=-1; B1 + x=-2; A2 r x=6; A ok; B ok", "fuzzy read of A by B on x at [0 2 3]"},
		{"in the start that counts", "A1 r x=9; A1#1 r x=9; B1 w x=8; A2#1 r x=8; A ok; B ok", "fuzzy read of A by B on x at [1 2 3]"},
		{"another row is there", "A1 r t/*=; B1 + t/*=+1; A2 r t/*=1; A ok; B ok", "fuzzy read of A by B on t/* at [0 1 2]"},

		{"each reads what the other writes then", "A1 r x=0; B1 r y=0; A2 w y=1; B2 w x=1; A ok; B ok; broken", "write skew of A by B on x at [0 1 2 3]"},
		{"each inserts what the other has not seen", "A1 r t/*=; B1 r t/*=; A2 + t/*=+1; B2 + t/*=+2; A ok; B ok; broken", "write skew of A by B on t/* at [0 1 2 3]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := summaries(written(t, c.history)); got != c.want {
				t.Errorf("found %s\nwant  %s", got, c.want)
			}
		})
	}
}

func TestHistoriesWithoutAnomaliesHaveNone(t *testing.T) {
	for _, c := range []struct{ name, history string }{
		{"one after the other", "A1 r x=9; A2 w x=8; A ok; B1 r x=8; B2 w x=7; B ok"},
		{"it was taken back before it was read", "A1 w x=5; A1' w x=0; B1 r x=0; A back; B ok"},
		{"an addition was taken back before it was read", "A1 + x=5; A1' + x=-5; B1 r x=0; A back; B ok"},
		{"what hides it was read", "A1 w x=5; B1 w x=6; B2 r x=6; A1' + x=-5; A back; B ok"},
		{"who has read it is undone as well", "A1 w x=5; B1 r x=5; A1' w x=0; A back; B back"},
		{"who has read it has not ended", "A1 w x=5; B1 r x=5; A1' w x=0; A back"},
		{"an undo has read it", "A1 w x=5; B1' r x=5; A1' w x=0; A back; B ok"},
		{"it was read in a start that does not count", "A1 w x=5; B1 r x=5; A1' w x=0; B1#1 r x=0; A back; B ok"},
		{"what it wrote itself is taken back", "A1 w x=5; A2 r x=5; A1' w x=0; A ok"},
		{"nothing is taken back", "A1 w x=5; B1 r x=5; A2 w x=6; A ok; B ok"},

		{"what was overwritten was read", "A1 r x=9; B1 r x=9; B1 w x=8; A2 r x=8; A2 w x=7; A back; B ok"},
		{"additions overwrite nothing", "A1 r x=9; B1 + x=-1; A2 + x=-2; A ok; B ok"},
		{"what was overwritten is taken back anyway", "A1 r x=9; B1 w x=8; A2 w x=7; B1' r x=7; B1' w x=7; A ok; B back"},
		{"an addition was taken back before", "A1 r x=9; B1 + x=1; B1' + x=-1; A2 w x=7; A ok; B back"},
		{"what was overwritten was taken back before", "A1 r x=9; B1 w x=8; B1' w x=9; A2 w x=7; A ok; B back"},
		{"it was over before the other began", "B1 w x=1; B ok; A1 w x=2; A ok"},
		{"its own", "A1 r x=9; A2 w x=8; A3 w x=7; A ok"},

		{"two reads see one value", "A1 r x=9; B1 w y=8; A2 r x=9; A ok; B ok"},
		{"another's change was changed back", "A1 r x=9; B1 w x=8; B2 w x=9; A2 r x=9; A ok; B ok"},
		{"who has read twice gives up", "A1 r x=9; B1 w x=8; A2 r x=8; A back; B ok"},
		{"who has read twice starts again", "A1 r x=9; B1 w x=8; A2 r x=8; A1#1 r x=8; A ok; B ok"},
		{"its own addition explains it", "A1 r x=9; A1 + x=-1; B1 w y=0; A2 r x=8; A ok; B ok"},
		{"its own write explains it", "A1 r x=9; A1 w x=8; A2 r x=8; A ok"},
		{"an undo reads again", "A1 r x=9; B1 w x=8; A1' r x=8; A ok; B ok"},
		{"an addition to what is no number", `A1 r t/*=1; A2 + t/*=+"2"; B1 + t/*=+"3"; A3 r t/*=1; A ok; B ok`},

		{"no rule is broken", "A1 r x=0; B1 r y=0; A2 w y=1; B2 w x=1; A ok; B ok"},
		{"only one has read what the other writes then", "A1 r x=0; A2 w y=1; B1 r y=1; B2 w x=1; A ok; B ok; broken"},
		{"one of the two is undone", "A1 r x=0; B1 r y=0; A2 w y=1; B2 w x=1; A back; B ok; broken"},
		{"both write the same", "A1 r x=0; B1 r y=0; A2 w y=1; B2 w x=1; A3 r z=; A3 w z=1; B3 r z=1; B3 w z=2; A ok; B ok; broken"},
		{"nothing happens", "broken"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := summaries(written(t, c.history)); got != "" {
				t.Errorf("found %s", got)
			}
		})
	}
}

func summaries(h History) string {
	var all []string
	for _, f := range h.Anomalies() {
		all = append(all, f.summary())
	}
	return strings.Join(all, ", ")
}

// FuzzAnomalies takes three bytes for an operation.
func FuzzAnomalies(f *testing.F) {
	f.Add([]byte("A1 r x=9"), byte(0))
	f.Add([]byte{0, 0, 0, 4, 16, 1, 8, 0, 2, 255, 255, 255}, byte(255))
	f.Fuzz(func(t *testing.T, data []byte, ends byte) {
		h := History{Ended: map[string]saga.Status{}, Broken: []string{"a rule"}[:ends>>7]}
		for i, name := range []string{"A", "B", "C"} {
			switch ends >> (2 * i) & 3 {
			case 0:
				h.Ended[name] = saga.Completed
			case 1:
				h.Ended[name] = saga.Compensated
			}
		}
		for chunk := range slices.Chunk(data[:min(len(data), 300)], 3) {
			if len(chunk) < 3 {
				break
			}
			h.Operations = append(h.Operations, Operation{
				Saga: string('A' + rune(chunk[0]%3)), Step: strconv.Itoa(int(chunk[0] >> 2 & 3)), Round: int(chunk[0] >> 7),
				Action: []string{skald.ActionDo, skald.ActionUndo}[chunk[0]>>6&1], Kind: []OperationKind{OperationRead, OperationWrite, OperationAdd}[chunk[1]%3],
				Item: string('x' + rune(chunk[1]>>2&1)), Value: string(chunk[2:]),
			})
		}
		for _, found := range h.Anomalies() {
			if found.Saga == found.Other || len(found.At) < 2 || !slices.IsSorted(found.At) || found.At[len(found.At)-1] >= len(h.Operations) {
				t.Errorf("%s", found.summary())
			}
			if found.Anomaly != LostUpdate && h.Ended[found.Saga] != saga.Completed {
				t.Errorf("%s, and it is not completed", found.summary())
			}
		}
	})
}
