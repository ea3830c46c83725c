package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tree makes a folder of the given files and goes there.
func tree(t *testing.T, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

func TestTheTableIsWhatTheTestsSay(t *testing.T) {
	tree(t, map[string]string{
		"docs/keep":         "",
		"a/a_test.go":       "package a\n\n// TestOne is a test.\n//\n// Faults: 1, 23.\nfunc TestOne(t *testing.T) {}\n\n// Faults: 23.\nfunc FuzzTwo(f *testing.F) {}\n",
		"conform/store.go":  "package conform\n\nvar cases = []storeCase{\n\t// Faults: 44.\n\t{\"it holds\", run},\n\t{\n\t\tpromise: \"no more\", run: run,\n\t},\n}\n",
		"a/a.go":            "package a\n\n// Faults: 9.\nfunc TestThing() {}\n",
		".cache/x_test.go":  "no Go at all",
		"testdata/y_test.g": "nor this",
	})
	if err := run(true, false); err == nil {
		t.Fatal("the check passes without a page")
	}
	if err := run(false, false); err != nil {
		t.Fatal(err)
	}
	if err := run(true, false); err != nil {
		t.Errorf("after writing, the check still fails: %v", err)
	}
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"| 1 | before the business transaction commits | G | `a` TestOne |\n",
		"| 23 | the broker's limits remove what is unread | A | `a` FuzzTwo<br>`a` TestOne |\n",
		"| 44 | messages of a savepoint that was rolled back | G | `conform` “it holds” |\n",
		"| 9 | when a handler's batch is committed, and the broker does not know | O |\n",
	} {
		if !strings.Contains(string(content), line) {
			t.Errorf("no line %q in\n%s", line, content)
		}
	}
	covered, err := readTree(".")
	if err != nil || !strings.HasPrefix(summary(covered), "fault cases: 3 covered, open: 2, 3, 4, 5, 6, 7, ") || slices.Contains(covered.open(), 19) {
		t.Errorf("%s, %v", summary(covered), err)
	}
	if err := os.WriteFile(page, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(true, false); err == nil || !strings.Contains(err.Error(), "go run ./scripts/faults") {
		t.Errorf("a stale page: %v", err)
	}
}

func TestAnAnnotationThatSaysNothingIsAnError(t *testing.T) {
	for content, say := range map[string]string{
		"package a\n\n// Faults: 1, 2\nfunc TestOne() {}\n":        "write it as",
		"package a\n\n// Faults: 102.\nfunc TestOne() {}\n":        "no case 102",
		"package a\n\n// Faults: 0.\nfunc TestOne() {}\n":          "no case 0",
		"package a\n\n// Faults: 1.\n\nfunc TestOne() {}\n":        "a_test.go:3:1: neither",
		"package a\n\n// Faults: 1.\nfunc helper() {}\n":           "neither",
		"package a\n\nfunc TestOne() {\n\t// Faults: 1.\n\tx()\n}": "neither",
	} {
		t.Run(say, func(t *testing.T) {
			tree(t, map[string]string{"a_test.go": content})
			if _, err := readTree("."); err == nil || !strings.Contains(err.Error(), say) {
				t.Errorf("%v; want it to say %q", err, say)
			}
		})
	}
}

func TestTheCatalogueIsComplete(t *testing.T) {
	if len(catalogue) != 101 {
		t.Errorf("%d cases, and there are 101", len(catalogue))
	}
	for i, f := range catalogue {
		for _, letter := range strings.Split(f.promises, "") {
			if !slices.ContainsFunc(promises, func(p struct{ letter, meaning string }) bool { return p.letter == letter }) {
				t.Errorf("case %d: what does %q promise?", i+1, letter)
			}
		}
	}
}
