package isolation_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/isolation"
)

var declined = skald.Refuse("declined", "not enough credit")

func TestADeltaIsRelativeAndGuarded(t *testing.T) {
	for name, c := range map[string]struct{ statement, say string }{
		"numbered":              {addAuthorized, ""},
		"as SQLite has it":      {strings.ReplaceAll(addAuthorized, "$", "?"), ""},
		"not numbered":          {"UPDATE a SET n = n + ? WHERE id = ? AND n + ? >= 0", ""},
		"subtracted":            {"update seats set free = free - $1, changed_at = now() where flight = $2 and class = $3 and free - $1 >= 0", ""},
		"the other way round":   {"UPDATE a SET n = $1 + n WHERE id = $2 AND (n + $1 >= 0 OR overdraft)", ""},
		"quoted, with comments": {"UPDATE \"a\" /* ; */ SET \"n\" = \"n\" + $1 -- it's\n WHERE id = $2 AND \"n\" + $1 >= 0 AND kind <> 'it''s; or'", ""},
		"a guard with an equal": {"UPDATE a SET n = n + ? WHERE id = ? AND n + ? >= 0 AND n + ? <= m", ""},
		"with a cast":           {"UPDATE a SET n = coalesce(n, 0) + $1::bigint WHERE id = $2 AND n + $1 >= 0", ""},
		"a bound that may move": {"UPDATE a SET n = n + $1 WHERE id = $2 AND ($1 <= 0 OR n + $1 <= m) AND n + $1 >= 0", ""},
		"in parentheses":        {"UPDATE a SET n = (n + ($1)) WHERE id = $2 AND n + $1 >= 0", ""},
		"with its table":        {"UPDATE accounts a SET n = a.n - CAST($1 AS bigint) WHERE id = $2 AND n - $1 >= 0", ""},
		"joined":                {"UPDATE a SET n = n + $1 FROM limits l WHERE a.id = $2 AND l.id = a.id AND a.n + $1 <= l.most", ""},
		"nothing":               {"", "it is no UPDATE"},
		"subtracted from":       {"UPDATE a SET n = $1 - n WHERE id = $2 AND n + $1 >= 0", "n is set to a value"},
		"taken away first":      {"UPDATE a SET n = n - n + $1 WHERE id = $2 AND n + $1 >= 0", "n is set to a value"},
		"and one more":          {"UPDATE a SET n = n + $1 + 1 WHERE id = $2 AND n + $1 >= 0", "n is set to a value"},
		"twice":                 {"UPDATE a SET n = n + $1 + $1 WHERE id = $2 AND n + $1 >= 0", "n is set to a value"},
		"bounded":               {"UPDATE a SET n = greatest(n - $1, 0) WHERE id = $2 AND n - $1 > -9", "n is set to a value"},
		"its size":              {"UPDATE a SET n = n + abs($1) WHERE id = $2 AND n + $1 >= 0", "n is set to a value"},
		"by cases":              {"UPDATE a SET n = CASE WHEN $1 > 0 THEN n + $1 ELSE 0 END WHERE id = $2 AND n + $1 >= 0", "is set to a value"},
		"in a row":              {"UPDATE a SET (n, m) = ($1, m + 1) WHERE id = $2 AND n + $1 >= 0", "is set to a value"},
		"no key but in SET":     {"UPDATE a SET n = n + $1, who = $2 WHERE n + $1 >= 0", "no key: name the row"},
		"the guard in front":    {"UPDATE a SET n = n + ? WHERE n + ? >= 0 AND id = ?", "a key behind the guard"},
		"an insert":             {"INSERT INTO a VALUES ($1)", "it is no UPDATE"},
		"two statements":        {addAuthorized + "; DELETE FROM accounts", "a semicolon"},
		"no WHERE":              {"UPDATE a SET n = n + $1", "no SET with a WHERE"},
		"a value":               {"UPDATE a SET n = $1 WHERE id = $2 AND $1 <= m", "n is set to a value: add the amount"},
		"another column":        {"UPDATE a SET n = m + $1 WHERE id = $2 AND m + $1 >= 0", "n is set to a value"},
		"a factor":              {"UPDATE a SET n = n * 2 + $1 WHERE id = $2 AND n + $1 >= 0", "n is set to a value"},
		"one of each":           {"UPDATE a SET n = n + $1, m = $1 WHERE id = $2 AND n + $1 >= 0", "m is set to a value"},
		"no amount":             {"UPDATE a SET n = n + 1 WHERE id = $2 AND n + $1 >= 0", "no column that is changed by the amount"},
		"no guard":              {"UPDATE a SET n = n + $1 WHERE id = $2", "no guard: mention the amount"},
		"no guard, no numbers":  {"UPDATE a SET n = n + ? WHERE id = ?", "no guard: mention the amount"},
		"no key":                {"UPDATE a SET n = n + $1 WHERE n + $1 >= 0", "no key: name the row"},
		"a loophole":            {"UPDATE a SET n = n + $1 WHERE id = $2 AND n + $1 >= 0 OR vip", "put it into parentheses"},
		"a gap":                 {"UPDATE a SET n = n + $1 WHERE id = $3 AND n + $1 >= 0", "placeholder 2 is missing"},
		"mixed":                 {"UPDATE a SET n = n + $1 WHERE id = ? AND n + $1 >= 0", "with and without a number"},
		"two without a number":  {"UPDATE a SET n = n + ?, m = m + ? WHERE id = ? AND n + ? >= 0", "number them"},
		"an open quote":         {"UPDATE a SET n = n + $1 WHERE id = 'x", "has no end"},
		"an open comment":       {"UPDATE a SET n = n + $1 /* WHERE id = $2", "has no end"},
		"a named parameter":     {"UPDATE a SET n = n + $amount WHERE id = $2", "a placeholder is"},
		"a huge number":         {"UPDATE a SET n = n + $1 WHERE id = $99999", "a placeholder is"},
	} {
		_, err := isolation.NewDelta(c.statement, declined)
		if c.say == "" && err != nil || c.say != "" && (err == nil || !strings.Contains(err.Error(), c.say)) {
			t.Errorf("%s: %v; want it to say %q", name, err, c.say)
		}
	}
	for _, refusal := range []*skald.Refusal{nil, skald.Refuse("", "no code")} {
		if _, err := isolation.NewDelta("UPDATE a SET n = $1 WHERE id = $2", refusal); err == nil ||
			!strings.Contains(err.Error(), "no refusal") || !strings.Contains(err.Error(), "no guard") {
			t.Errorf("%v: %v; want every fault at once", refusal, err)
		}
	}
}

func credit(t *testing.T) *isolation.Delta {
	t.Helper()
	d, err := isolation.NewDelta(addAuthorized, declined)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestADeltaTellsARefusalFromARowThatIsNotThere(t *testing.T) {
	d, a := credit(t), &account{authorized: 30, limit: 100}
	for _, c := range []struct {
		amount     int64
		key        string
		authorized int64
		code       string
		err        error
	}{
		{70, "ada", 100, "", nil},
		{1, "ada", 100, "declined", nil},
		{-100, "ada", 0, "", nil},
		{0, "ada", 0, "", nil},
		{-1, "ada", 0, "declined", nil},
		{1, "bob", 0, "", isolation.ErrNoRow},
		{0, "bob", 0, "", isolation.ErrNoRow},
	} {
		err := d.Apply(t.Context(), a.table("ada"), c.amount, c.key)
		refusal, refused := skald.AsRefusal(err)
		if refused != (c.code != "") || refused && refusal.Code != c.code || !refused && !errors.Is(err, c.err) || a.authorized != c.authorized {
			t.Errorf("%d for %s: %v, %d authorized", c.amount, c.key, err, a.authorized)
		}
	}
}

func TestAnUndoThatOthersHaveOvertakenIsNoRefusal(t *testing.T) {
	d, a := credit(t), &account{authorized: 0, limit: 100}
	// Somebody gives 50 back that somebody else authorizes: it cannot be taken again.
	a.authorized = 100
	if err := d.Apply(t.Context(), a.table("ada"), -50, "ada"); err != nil {
		t.Fatal(err)
	}
	if err := d.Apply(t.Context(), a.table("ada"), 50, "ada"); err != nil {
		t.Fatal(err)
	}
	err := d.Undo(t.Context(), a.table("ada"), -50, "ada")
	if _, refused := skald.AsRefusal(err); !errors.Is(err, isolation.ErrTaken) || refused || a.authorized != 100 {
		t.Errorf("%v, %d authorized", err, a.authorized)
	}
	if err := d.Undo(t.Context(), a.table("ada"), 1, "bob"); !errors.Is(err, isolation.ErrNoRow) {
		t.Error(err)
	}
	if err := d.Undo(t.Context(), a.table("ada"), math.MinInt64, "ada"); err == nil || !strings.Contains(err.Error(), "no opposite") {
		t.Error(err)
	}
}

func TestADeltaPassesFaultsOn(t *testing.T) {
	d, broken := credit(t), errors.New("broken")
	for say, c := range map[string]struct {
		table table
		key   []any
	}{
		"broken":                  {func([]any) (int64, error) { return 0, broken }, []any{"ada"}},
		"it has changed 2 rows":   {func([]any) (int64, error) { return 2, nil }, []any{"ada"}},
		"a delta without a key":   {func([]any) (int64, error) { return 1, nil }, nil},
		"isolation: add 0 to [a]": {func(args []any) (int64, error) { return 0, map[bool]error{args[0] == int64(0): broken}[true] }, []any{"a"}},
	} {
		err := d.Apply(t.Context(), c.table, 1, c.key...)
		if _, refused := skald.AsRefusal(err); err == nil || refused || !strings.Contains(err.Error(), say) {
			t.Errorf("%v; want it to say %q", err, say)
		}
	}
}

func TestArgumentsAreInTheStatementsOrder(t *testing.T) {
	for statement, want := range map[string]string{
		"UPDATE a SET n = n + $1 WHERE id = $2 AND n + $1 >= 0":                 "[5 ada x]",
		"UPDATE a SET n = n + ? WHERE id = ? AND x = ? AND n + ? >= 0":          "[5 ada x 5]",
		"UPDATE a SET n = n + ? WHERE id = ? AND x = ? AND n + ? < 9 AND ? > 0": "[5 ada x 5 5]",
	} {
		d, err := isolation.NewDelta(statement, declined)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		tx := table(func(args []any) (int64, error) { got = fmt.Sprint(args); return 1, nil })
		if err := d.Apply(t.Context(), tx, 5, "ada", "x"); err != nil || got != want {
			t.Errorf("%s: %s, %v", statement, got, err)
		}
	}
}

// Sagas that authorize and take back, in whatever order: what is left is the sum of those that were not undone.
func TestDeltasCommute(t *testing.T) {
	d := credit(t)
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 0))
		a := &account{limit: 1000}
		var applied []int64
		for range 40 {
			if i := len(applied); i > 0 && random.IntN(2) == 0 { // undo any of them
				i = random.IntN(i)
				if err := d.Undo(t.Context(), a.table("ada"), applied[i], "ada"); err != nil {
					t.Fatal(err)
				}
				applied = slices.Delete(applied, i, i+1)
				continue
			}
			amount := random.Int64N(300)
			err := d.Apply(t.Context(), a.table("ada"), amount, "ada")
			if _, refused := skald.AsRefusal(err); !refused && err != nil {
				t.Fatal(err)
			} else if !refused {
				applied = append(applied, amount)
			}
		}
		sum := int64(0)
		for _, amount := range applied {
			sum += amount
		}
		if a.authorized != sum || sum > a.limit {
			t.Fatalf("seed %d: %d authorized, want %d of %d", seed, a.authorized, sum, a.limit)
		}
	}
}

// No statement makes the checks panic.
func FuzzStatements(f *testing.F) {
	for _, s := range []string{addAuthorized, changeTotal, "UPDATE a SET n = n + ? WHERE id = ? AND n + ? >= 0", "update'\"`$?--/*", "UPDATE a SET = WHERE = $1", "UPDATE ) SET ( WHERE $1"} {
		f.Add(s)
	}
	f.Fuzz(func(_ *testing.T, statement string) {
		_, _ = isolation.NewDelta(statement, declined)
		_, _ = isolation.NewReread(statement, declined)
	})
}
