// Command modules keeps the go.mod files of this repository in step with each other.
//
// Everything with a dependency is a module of its own. While they are developed together,
// each of them replaces every module of this repository that it needs, directly or through
// another one, by the folder next door: then it builds outside the workspace too.
//
//	go run ./scripts/modules          write the replaces, and requires that are missing
//	go run ./scripts/modules -check   say what is not as it would write it, and fail
//	go run ./scripts/modules -list    print the modules' folders, the root first
//
// Run it with GOWORK=off: replaces that contradict each other break the whole workspace,
// and the core, to which this command belongs, does not need it.
//
// The folder tools/ is left alone: it holds the tools' versions and none of our code.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

func main() {
	check := flag.Bool("check", false, "change nothing; fail when something would change")
	list := flag.Bool("list", false, "print the modules' folders and stop")
	flag.Parse()
	if err := run(*check, *list); err != nil {
		fmt.Fprintln(os.Stderr, "modules:", err)
		os.Exit(1)
	}
}

// module is what a go.mod says, and where.
type module struct {
	Dir     string `json:"-"` // slash-separated, relative to the root; "." is the root
	Module  struct{ Path string }
	Go      string
	Require []struct{ Path, Version string }
	Replace []struct {
		Old, New struct{ Path, Version string }
	}
	Imported []string `json:"-"` // modules of this repository that its packages import
}

type repository struct {
	root    string
	modules map[string]*module // by module path
}

func run(check, list bool) error {
	repo, err := load()
	if err != nil {
		return err
	}
	if list {
		for _, m := range repo.sorted() {
			fmt.Println(m.Dir)
		}
		return nil
	}
	edits, faults := repo.workspaceEdits()
	faults = append(faults, repo.apply(check, "work", "go.work", edits))
	for _, m := range repo.sorted() {
		faults = append(faults, repo.apply(check, "mod", path.Join(m.Dir, "go.mod"), repo.edits(m)))
	}
	return errors.Join(faults...)
}

// apply edits a go.mod or the go.work, or says that it needs it.
func (r *repository) apply(check bool, kind, file string, edits []string) error {
	if len(edits) == 0 {
		return nil
	}
	if check {
		return fmt.Errorf("%s is not current: it wants %s; run: make modules", file, strings.Join(edits, " "))
	}
	fmt.Printf("go %s edit %s %s\n", kind, strings.Join(edits, " "), file)
	_, err := goCommand(r.root, append(append([]string{kind, "edit"}, edits...), file)...)
	return err
}

// load finds and reads every go.mod below the root, which is the workspace's folder.
func load() (*repository, error) {
	root, err := findRoot()
	if err != nil {
		return nil, err
	}
	repo := &repository{root: root, modules: map[string]*module{}}
	err = filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && file != root && skipped(entry.Name()):
			return filepath.SkipDir
		case entry.Name() == "go.mod":
			return repo.read(filepath.Dir(file))
		default:
			return nil
		}
	})
	if err != nil {
		return nil, err
	}
	for _, m := range repo.modules {
		if err := repo.readImports(m); err != nil {
			return nil, err
		}
	}
	return repo, nil
}

// findRoot looks for go.work from the current folder upwards.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for !exists(filepath.Join(dir, "go.work")) {
		above := filepath.Dir(dir)
		if above == dir {
			return "", errors.New("no go.work here or above: run it inside the repository")
		}
		dir = above
	}
	return dir, nil
}

func skipped(dir string) bool {
	return strings.HasPrefix(dir, ".") || dir == "testdata" || dir == "tools" || dir == "node_modules"
}

func (r *repository) read(dir string) error {
	out, err := goCommand(dir, "mod", "edit", "-json")
	if err != nil {
		return err
	}
	m := &module{}
	if err := json.Unmarshal(out, m); err != nil {
		return fmt.Errorf("%s: read go mod edit's answer: %w", dir, err)
	}
	rel, err := filepath.Rel(r.root, dir)
	if err != nil {
		return err
	}
	m.Dir = filepath.ToSlash(rel)
	r.modules[m.Module.Path] = m
	return nil
}

// readImports notes which modules of this repository the module's packages and tests
// import, whether its go.mod requires them yet or not.
func (r *repository) readImports(m *module) error {
	found := map[string]bool{}
	top := filepath.Join(r.root, m.Dir)
	err := filepath.WalkDir(top, func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && file != top && (skipped(entry.Name()) || exists(filepath.Join(file, "go.mod"))):
			return filepath.SkipDir
		case entry.IsDir() || path.Ext(file) != ".go":
			return nil
		}
		syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range syntax.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if owner := r.owner(imported); owner != "" && owner != m.Module.Path {
				found[owner] = true
			}
		}
		return nil
	})
	m.Imported = slices.Sorted(maps.Keys(found))
	return err
}

// owner is the module of this repository to which a package belongs: the longest path
// that is a prefix of the package's; empty when it is somebody else's.
func (r *repository) owner(pkg string) string {
	longest := ""
	for candidate := range r.modules {
		if (pkg == candidate || strings.HasPrefix(pkg, candidate+"/")) && len(candidate) > len(longest) {
			longest = candidate
		}
	}
	return longest
}

// closure is every module of this repository that m needs, directly or not.
func (r *repository) closure(m *module) map[string]bool {
	needed := map[string]bool{}
	var visit func(*module)
	visit = func(m *module) {
		next := slices.Clone(m.Imported)
		for _, required := range m.Require {
			next = append(next, required.Path)
		}
		for _, p := range next {
			if other := r.modules[p]; other != nil && !needed[p] {
				needed[p] = true
				visit(other)
			}
		}
	}
	visit(m)
	delete(needed, m.Module.Path)
	return needed
}

// edits are the flags of go mod edit that bring m up to date.
func (r *repository) edits(m *module) []string {
	var edits []string
	needed := r.closure(m)
	for _, imported := range m.Imported {
		if !slices.ContainsFunc(m.Require, func(q struct{ Path, Version string }) bool { return q.Path == imported }) {
			edits = append(edits, "-require="+imported+"@v0.0.0")
		}
	}
	replaced := map[string]bool{}
	for _, replace := range m.Replace {
		old := replace.Old.Path
		switch {
		case r.modules[old] == nil:
		case !needed[old]:
			edits = append(edits, "-dropreplace="+old)
		case replace.New.Path == r.way(m, old):
			replaced[old] = true
		}
	}
	for _, p := range slices.Sorted(maps.Keys(needed)) {
		if !replaced[p] {
			edits = append(edits, "-replace="+p+"="+r.way(m, p))
		}
	}
	return edits
}

// way is the relative path from m's folder to that of the module to.
func (r *repository) way(m *module, to string) string {
	rel, err := filepath.Rel(filepath.FromSlash(m.Dir), filepath.FromSlash(r.modules[to].Dir))
	if err != nil {
		panic(err) // both are relative to the root
	}
	rel = filepath.ToSlash(rel)
	if !strings.HasPrefix(rel, ".") {
		rel = "./" + rel
	}
	return rel
}

// workspaceEdits are the flags of go work edit that bring go.work up to date, and what
// only a person can mend.
func (r *repository) workspaceEdits() (edits []string, faults []error) {
	out, err := goCommand(r.root, "work", "edit", "-json", "go.work")
	if err != nil {
		return nil, []error{err}
	}
	var work struct {
		Go  string
		Use []struct{ DiskPath string }
	}
	if err := json.Unmarshal(out, &work); err != nil {
		return nil, []error{fmt.Errorf("read go.work: %w", err)}
	}
	gone := map[string]string{} // as written, by clean path
	for _, use := range work.Use {
		gone[path.Clean(use.DiskPath)] = use.DiskPath
	}
	for _, m := range r.sorted() {
		if _, used := gone[m.Dir]; !used {
			edits = append(edits, "-use=./"+m.Dir)
		}
		delete(gone, m.Dir)
		if m.Go != work.Go {
			faults = append(faults, fmt.Errorf("%s/go.mod says go %s, go.work says go %s", m.Dir, m.Go, work.Go))
		}
		if m.Dir == "." && len(m.Require) > 0 {
			faults = append(faults, errors.New("the core's go.mod requires something: it is to need the standard library only"))
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(gone)) {
		edits = append(edits, "-dropuse="+gone[dir])
	}
	return edits, faults
}

func (r *repository) sorted() []*module {
	return slices.SortedFunc(maps.Values(r.modules), func(a, b *module) int { return strings.Compare(a.Dir, b.Dir) })
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// goCommand runs the go command in a folder and returns what it prints.
func goCommand(dir string, args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...) //nolint:gosec,noctx // our own arguments; nothing to cancel
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off") // works although the workspace does not
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: go %s: %w: %s", dir, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}
