package isolation_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/isolation"
)

const changeTotal = `UPDATE orders SET total = $1, version = version + 1 WHERE id = $2 AND version = $3`

var changed = skald.Refuse("order_changed", "the order has changed")

func TestARereadComparesAVersionAndChangesIt(t *testing.T) {
	for name, c := range map[string]struct{ statement, say string }{
		"numbered":           {changeTotal, ""},
		"not numbered":       {"UPDATE o SET total = ?, version = version + 1 WHERE id = ? AND version = ?", ""},
		"another column":     {"UPDATE o SET total = $1, changed_at = now() WHERE changed_at = $2 AND id = 7", ""},
		"the other way":      {"UPDATE o SET total = $1, version = o.version + 1 WHERE id = $2 AND $3 = o.version", ""},
		"set to itself":      {"UPDATE o SET total = $1, version = version WHERE id = $2 AND version = $3", "version is set to what it is"},
		"set to what it was": {"UPDATE o SET total = $1, version = $3 WHERE id = $2 AND version = $3", "version is set to what it is"},
		"at least":           {"UPDATE o SET total = $1, version = version + 1 WHERE id = $2 AND version >= $3", "compared with no version"},
		"another one":        {"UPDATE o SET total = $1, version = version + 1 WHERE id = $2 AND version != $3", "compared with no version"},
		"no version":         {"UPDATE o SET total = $1 WHERE id = $2 AND total > 0", "id is compared and stays as it is"},
		"not compared":       {"UPDATE o SET total = $1, version = $3 WHERE id = $2", "compared with no version"},
		"it stays as it is":  {"UPDATE o SET total = $1 WHERE id = $2 AND version = $3", "version is compared and stays as it is"},
		"no placeholder":     {"UPDATE o SET total = 1 WHERE id = 2", "compared with no version"},
		"no update":          {"SELECT 1", "it is no UPDATE"},
	} {
		_, err := isolation.NewReread(c.statement, changed)
		if c.say == "" && err != nil || c.say != "" && (err == nil || !strings.Contains(err.Error(), c.say)) {
			t.Errorf("%s: %v; want it to say %q", name, err, c.say)
		}
	}
	if _, err := isolation.NewReread(changeTotal, nil); err == nil {
		t.Error("a reread without a refusal")
	}
}

func TestAWriteOverWhatHasChangedIsRefused(t *testing.T) {
	r, err := isolation.NewReread(changeTotal, changed)
	if err != nil {
		t.Fatal(err)
	}
	version, total := int64(3), int64(0)
	tx := table(func(args []any) (int64, error) {
		if args[2] != version {
			return 0, nil
		}
		total, version = args[0].(int64), version+1
		return 1, nil
	})
	if err := r.Write(t.Context(), tx, 3, int64(500), "o"); err != nil || total != 500 {
		t.Errorf("%v, total %d", err, total)
	}
	err = r.Write(t.Context(), tx, 3, int64(700), "o")
	if refusal, refused := skald.AsRefusal(err); !refused || refusal.Code != "order_changed" || string(refusal.Detail) != `{"read":3}` || total != 500 {
		t.Errorf("%v, total %d", err, total)
	}
	for say, tx := range map[string]table{
		"broken":         func([]any) (int64, error) { return 0, errors.New("broken") },
		"changed 2 rows": func([]any) (int64, error) { return 2, nil },
	} {
		err := r.Write(t.Context(), tx, 3, int64(700), "o")
		if _, refused := skald.AsRefusal(err); err == nil || refused || !strings.Contains(err.Error(), say) {
			t.Errorf("%v; want it to say %q", err, say)
		}
	}
	if err := r.Write(t.Context(), tx, 4, "o"); err == nil || !strings.Contains(err.Error(), "takes 2") {
		t.Errorf("an argument is missing: %v", err)
	}
}

func TestWhatIsOnlyReadIsComparedToo(t *testing.T) {
	for name, c := range map[string]struct {
		read, now int64
		refused   bool
		say       string
	}{
		"unchanged": {3, 3, false, ""},
		"changed":   {3, 5, true, `refused (order_changed)`},
		"behind":    {3, 2, false, "it is behind"},
	} {
		err := isolation.Unchanged(c.read, c.now, changed)
		refusal, refused := skald.AsRefusal(err)
		if (err != nil) != (c.say != "") || err != nil && !strings.Contains(err.Error(), c.say) || refused != c.refused {
			t.Errorf("%s: %v", name, err)
		}
		if refused && string(refusal.Detail) != `{"read":3,"now":5}` {
			t.Errorf("detail %s", refusal.Detail)
		}
	}
	if _, refused := skald.AsRefusal(isolation.Unchanged(1, 2, nil)); refused {
		t.Error("refused without a refusal")
	}
}
