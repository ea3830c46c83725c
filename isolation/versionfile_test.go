package isolation_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/skald-go/skald/isolation"
)

type file = isolation.VersionFile[string]

func operation(after, version int64) isolation.Operation[string] {
	return isolation.Operation[string]{After: after, Version: version, Content: fmt.Sprintf("%d to %d", after, version)}
}

// record records operations on a file as it is kept, and returns what was applied.
func record(t *testing.T, f file, operations ...isolation.Operation[string]) (file, []string) {
	t.Helper()
	var applied []string
	for _, o := range operations {
		kept, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		next, now, err := f.Record(o)
		if err != nil && !errors.Is(err, isolation.ErrRecorded) {
			t.Fatalf("%+v: %v", o, err)
		}
		if again, _ := json.Marshal(f); string(again) != string(kept) {
			t.Fatalf("Record has changed the file from %s to %s", kept, again)
		}
		for _, a := range now {
			applied = append(applied, a.Content)
		}
		encoded, err := json.Marshal(next)
		if err != nil {
			t.Fatal(err)
		}
		f = file{}
		if err := json.Unmarshal(encoded, &f); err != nil {
			t.Fatal(err)
		}
	}
	return f, applied
}

// permutations calls each with every order of the numbers below n.
func permutations(n int, each func(order []int)) {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	var permute func(k int)
	permute = func(k int) {
		if k == n {
			each(order)
			return
		}
		for i := k; i < n; i++ {
			order[k], order[i] = order[i], order[k]
			permute(k + 1)
			order[k], order[i] = order[i], order[k]
		}
	}
	permute(0)
}

// Whatever the order in which operations arrive, each of them twice, they are applied in their own.
func TestEveryOrderOfArrivalEndsTheSame(t *testing.T) {
	chain := []isolation.Operation[string]{operation(0, 1), operation(1, 4), operation(4, 5), operation(5, 9), operation(9, 10), operation(10, 12)}
	want := []string{"0 to 1", "1 to 4", "4 to 5", "5 to 9", "9 to 10", "10 to 12"}
	end := file{Version: 12, Applied: []int64{1, 4, 5, 9, 10, 12}}
	permutations(len(chain), func(order []int) {
		var arriving []isolation.Operation[string]
		for i, n := range order {
			arriving = append(arriving, chain[n], chain[order[i/2]])
		}
		f, applied := record(t, file{}, arriving...)
		if !reflect.DeepEqual(applied, want) || !reflect.DeepEqual(f, end) {
			t.Fatalf("%v: applied %v, file %+v", order, applied, f)
		}
	})
}

func TestTheCancelBeforeTheAuthorizeIsRecorded(t *testing.T) {
	f, applied := record(t, file{}, operation(1, 3))
	if applied != nil || len(f.Waiting) != 1 {
		t.Errorf("applied %v, file %+v", applied, f)
	}
	f, applied = record(t, f, operation(0, 1))
	if want := []string{"0 to 1", "1 to 3"}; !reflect.DeepEqual(applied, want) || f.Version != 3 || len(f.Waiting) != 0 {
		t.Errorf("applied %v, file %+v", applied, f)
	}
}

// Two sagas that number their operations alike would lose one of them in silence.
func TestAnOperationThatIsNumberedAsAnotherIsTold(t *testing.T) {
	f, _ := record(t, file{}, operation(0, 1), operation(1, 3), operation(5, 8))
	for name, o := range map[string]isolation.Operation[string]{
		"one that was applied":     operation(1, 3),
		"one that waits":           operation(5, 8),
		"the first":                operation(0, 1),
		"of another saga, applied": {After: 1, Version: 3, Content: "another"},
		"of another saga, waiting": {After: 5, Version: 8, Content: "another"},
	} {
		if after, now, err := f.Record(o); !errors.Is(err, isolation.ErrRecorded) || now != nil || !reflect.DeepEqual(after, f) {
			t.Errorf("%s: %v, %v", name, now, err)
		}
	}
}

func TestARecordWithoutAFileBeginsWithItsVersion(t *testing.T) {
	if f, applied := record(t, file{Version: 7}, operation(8, 9), operation(7, 8)); len(applied) != 2 || f.Version != 9 {
		t.Errorf("applied %v, file %+v", applied, f)
	}
}

func TestAnOperationThatCanNeverBeAppliedIsRefused(t *testing.T) {
	f, _ := record(t, file{}, operation(0, 1), operation(1, 3), operation(5, 8))
	for name, o := range map[string]isolation.Operation[string]{
		"after one that is overtaken":      operation(1, 4),
		"under a number that was applied":  operation(2, 3),
		"between two that were":            operation(0, 2),
		"across one that waits":            operation(3, 6),
		"around one that waits":            operation(3, 9),
		"beside one that waits":            operation(5, 7),
		"within one that waits":            operation(6, 7),
		"under a number of one that waits": operation(7, 8),
	} {
		if after, now, err := f.Record(o); !errors.Is(err, isolation.ErrOvertaken) || now != nil || !reflect.DeepEqual(after, f) {
			t.Errorf("%s: %v, %v", name, now, err)
		}
	}
	for _, o := range []isolation.Operation[string]{operation(-1, 1), operation(3, 3), operation(9, 4)} {
		if _, _, err := f.Record(o); err == nil || errors.Is(err, isolation.ErrOvertaken) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestAFileIsBounded(t *testing.T) {
	f := file{}
	for i := range int64(isolation.MaxWaiting) {
		f, _ = record(t, f, operation(i+1, i+2))
	}
	if _, _, err := f.Record(operation(500, 501)); !errors.Is(err, isolation.ErrTooManyWait) {
		t.Error(err)
	}
	f, applied := record(t, f, operation(0, 1)) // what they wait for comes through
	if len(applied) != isolation.MaxWaiting+1 || len(f.Applied) != isolation.MaxRemembered {
		t.Errorf("%d applied, %d remembered", len(applied), len(f.Applied))
	}
	if _, _, err := f.Record(operation(0, 1)); !errors.Is(err, isolation.ErrOvertaken) {
		t.Errorf("older than what is remembered: %v", err)
	}
}

func TestAFaultyFileIsRefused(t *testing.T) {
	for name, encoded := range map[string]string{
		"a negative version":           `{"version":-1}`,
		"applied in disorder":          `{"version":3,"applied":[4,3]}`,
		"applied without the last":     `{"version":3,"applied":[1,2]}`,
		"one waits that is due":        `{"version":3,"waiting":[{"after":3,"version":4,"content":""}]}`,
		"one waits that was overtaken": `{"version":3,"waiting":[{"after":1,"version":4,"content":""}]}`,
		"two wait across":              `{"version":3,"waiting":[{"after":5,"version":7,"content":""},{"after":6,"version":8,"content":""}]}`,
		"one waits backwards":          `{"version":3,"waiting":[{"after":5,"version":5,"content":""}]}`,
		"too many wait":                `{"version":3,"waiting":[` + strings.Repeat(`{},`, isolation.MaxWaiting) + `{}]}`,
	} {
		var f file
		if err := json.Unmarshal([]byte(encoded), &f); err != nil {
			t.Fatal(err)
		}
		if _, _, err := f.Record(operation(100, 101)); err == nil || !strings.Contains(err.Error(), "a faulty version file") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A file stays sound, and applies in order, whatever comes.
func FuzzVersionFile(f *testing.F) {
	f.Add([]byte{1, 2, 0, 1})
	f.Add([]byte{0, 1, 0, 2, 3, 9, 1, 3, 255, 0})
	f.Fuzz(func(t *testing.T, input []byte) {
		var of file
		at := int64(0)
		for i := 0; i+1 < len(input); i += 2 {
			next, now, err := of.Record(operation(int64(input[i])-1, int64(input[i+1])))
			if err != nil {
				if len(now) > 0 || !reflect.DeepEqual(next, of) {
					t.Fatalf("refused (%v), and %v applied", err, now)
				}
				continue
			}
			for _, o := range now {
				if o.After != at {
					t.Fatalf("version %d applied at version %d", o.Version, at)
				}
				at = o.Version
			}
			if of = next; of.Version != at || of.Validate() != nil {
				t.Fatalf("at version %d: %+v, %v", at, of, of.Validate())
			}
		}
	})
}

func TestVersionsMayBeAsLargeAsTheyGet(t *testing.T) {
	f, applied := record(t, file{}, operation(1, math.MaxInt64), operation(0, 1))
	if len(applied) != 2 || f.Version != math.MaxInt64 {
		t.Errorf("applied %v, file %+v", applied, f)
	}
}
