package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// repositoryWith makes a workspace of the given files in a temporary folder and goes there.
func repositoryWith(t *testing.T, files map[string]string) {
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

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestANestedModuleReplacesEverythingItNeedsDirectlyOrNot(t *testing.T) {
	repositoryWith(t, map[string]string{
		"go.work":          "go 1.26.8\n\nuse (\n\t.\n\t./gone\n)\n",
		"go.mod":           "module example.org/core\n\ngo 1.26.8\n",
		"core.go":          "package core\n",
		"broker/go.mod":    "module example.org/core/broker\n\ngo 1.26.8\n\nreplace example.org/core/app => ../app\n",
		"broker/b.go":      "package broker\n\nimport _ \"example.org/core\"\n",
		"app/go.mod":       "module example.org/core/app\n\ngo 1.26.8\n\nreplace example.org/core => ../elsewhere\n",
		"app/x_test.go":    "package app\n\nimport _ \"example.org/core/broker\"\n",
		"tools/go.mod":     "module example.org/core/tools\n\ngo 1.26.8\n",
		"app/.hidden/x.go": "not Go at all",
	})
	if err := run(true, false); err == nil {
		t.Fatal("the check finds nothing to mend")
	}
	if err := run(false, false); err != nil {
		t.Fatal(err)
	}
	if err := run(true, false); err != nil {
		t.Errorf("after writing, the check still fails: %v", err)
	}
	app := read(t, "app/go.mod")
	for _, line := range []string{"example.org/core/broker v0.0.0\n", "example.org/core => ..\n", "example.org/core/broker => ../broker\n"} {
		if !strings.Contains(app, line) {
			t.Errorf("app/go.mod has no line %q:\n%s", line, app)
		}
	}
	if broker := read(t, "broker/go.mod"); strings.Contains(broker, "core/app") {
		t.Errorf("broker/go.mod still replaces what it does not need:\n%s", broker)
	}
	work := read(t, "go.work")
	if !strings.Contains(work, "./app") || !strings.Contains(work, "./broker") || strings.Contains(work, "gone") || strings.Contains(work, "tools") {
		t.Errorf("go.work does not name exactly the modules that are there:\n%s", work)
	}
}

func TestTheCoreRequiresNothing(t *testing.T) {
	repositoryWith(t, map[string]string{
		"go.work": "go 1.26.8\n\nuse .\n",
		"go.mod":  "module example.org/core\n\ngo 1.26.8\n\nrequire example.org/other v1.0.0\n",
	})
	if err := run(true, false); err == nil || !strings.Contains(err.Error(), "standard library only") {
		t.Errorf("got %v", err)
	}
}
