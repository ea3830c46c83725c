// Command faults writes the table of fault cases, and of the tests that cover them.
//
// A test says which cases it covers in a line of its comment, as does a case of the
// conformance suites:
//
//	// Faults: 8, 9, 34.
//
//	go run ./scripts/faults           write docs/faults.md
//	go run ./scripts/faults -check    fail when docs/faults.md is not what it would write
//	go run ./scripts/faults -list     print how many cases are covered, and which are open
package main

import (
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const page = "docs/faults.md"

func main() {
	check := flag.Bool("check", false, "write nothing; fail when "+page+" would change")
	list := flag.Bool("list", false, "print a summary and stop")
	flag.Parse()
	if err := run(*check, *list); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

func run(check, list bool) error {
	covered, err := readTree(".")
	if err != nil {
		return err
	}
	if list {
		fmt.Println(summary(covered))
		return nil
	}
	want := render(covered)
	if !check {
		return os.WriteFile(page, []byte(want), 0o644) //nolint:gosec // documentation is for everybody
	}
	got, err := os.ReadFile(page)
	if err == nil && string(got) != want {
		err = errors.New(page + " is not what the tests say: run go run ./scripts/faults")
	}
	return err
}

// cover maps a case's number to the tests that cover it, sorted.
type cover map[int][]test

// test is a test or a case of a conformance suite.
type test struct{ dir, name string }

// readTree reads the annotations of all tests and conformance cases below root.
func readTree(root string) (cover, error) {
	found := cover{}
	var faults []error
	err := fs.WalkDir(os.DirFS(root), ".", func(file string, entry fs.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir() && (name == "testdata" || len(name) > 1 && strings.HasPrefix(name, ".")):
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(name, "_test.go") && path.Dir(file) != "conform" || path.Ext(name) != ".go":
			return nil
		}
		faults = append(faults, found.readFile(root, file))
		return nil
	})
	for number := range found {
		slices.SortFunc(found[number], func(a, b test) int {
			return strings.Compare(a.dir+" "+a.name, b.dir+" "+b.name)
		})
	}
	return found, errors.Join(append(faults, err)...)
}

// readFile adds the annotations of one file. One that stands above nothing is an error.
func (c cover) readFile(root, file string) error {
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, filepath.Join(root, file), nil, parser.ParseComments)
	if err != nil {
		return err
	}
	named := names(files, parsed)
	var faults []error
	for _, group := range parsed.Comments {
		numbers, err := annotation(group.Text())
		switch name := named[files.Position(group.End()).Line+1]; {
		case err != nil:
			faults = append(faults, fmt.Errorf("%s: %w", files.Position(group.Pos()), err))
		case len(numbers) > 0 && name == "":
			faults = append(faults, fmt.Errorf("%s: neither a test nor a conformance case follows", files.Position(group.Pos())))
		default:
			for _, n := range numbers {
				c[n] = append(c[n], test{path.Dir(file), name})
			}
		}
	}
	return errors.Join(faults...)
}

// names are what an annotation may stand above, by line.
func names(files *token.FileSet, parsed *ast.File) map[int]string {
	byLine := map[int]string{}
	ast.Inspect(parsed, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv == nil && (strings.HasPrefix(n.Name.Name, "Test") || strings.HasPrefix(n.Name.Name, "Fuzz")) {
				byLine[files.Position(n.Pos()).Line] = n.Name.Name
			}
		case *ast.CompositeLit:
			if promise := promiseOf(n); n.Type == nil && promise != "" {
				byLine[files.Position(n.Pos()).Line] = promise
			}
		}
		return true
	})
	return byLine
}

// promiseOf is what a case of the conformance suites promises: the text it begins with.
func promiseOf(n *ast.CompositeLit) string {
	if len(n.Elts) == 0 {
		return ""
	}
	first := n.Elts[0]
	if field, ok := first.(*ast.KeyValueExpr); ok {
		first = field.Value
	}
	literal, ok := first.(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return ""
	}
	promise, err := strconv.Unquote(literal.Value)
	if err != nil {
		return ""
	}
	return promise
}

var annotated = regexp.MustCompile(`^Faults: \d+(, \d+)*\.$`)

// annotation reads the numbers of the line that begins with "Faults:".
func annotation(comment string) ([]int, error) {
	var numbers []int
	for line := range strings.Lines(comment) {
		line = strings.TrimSuffix(line, "\n")
		if !strings.HasPrefix(line, "Faults:") {
			continue
		}
		if !annotated.MatchString(line) {
			return nil, fmt.Errorf("%q: write it as \"Faults: 8, 9, 34.\"", line)
		}
		for _, digits := range strings.Split(strings.Trim(line, "Faults:. "), ", ") {
			n, err := strconv.Atoi(digits)
			if err != nil || n < 1 || n > len(catalogue) {
				return nil, fmt.Errorf("%q: there is no case %s", line, digits)
			}
			numbers = append(numbers, n)
		}
	}
	return numbers, nil
}

// open lists the cases that no test covers and that could be covered now.
func (c cover) open() []int {
	var open []int
	for i, f := range catalogue {
		if len(c[i+1]) == 0 && f.later == "" {
			open = append(open, i+1)
		}
	}
	return open
}

func summary(c cover) string {
	line := fmt.Sprintf("fault cases: %d covered, open: ", len(c))
	numbers := []string{}
	for _, n := range c.open() {
		numbers = append(numbers, strconv.Itoa(n))
	}
	if len(numbers) == 0 {
		numbers = []string{"none"}
	}
	return line + strings.Join(numbers, ", ") + " (docs/faults.md)"
}

func render(c cover) string {
	var b strings.Builder
	b.WriteString(`# Fault cases

Generated from the tests by ` + "`go run ./scripts/faults`" + `; do not edit. A test names the cases it covers
in its comment: ` + "`// Faults: 8, 9.`" + ` Tests in ` + "`conform`" + ` are cases of the conformance suites, which run
on the in-memory twins, on SQLite, on PostgreSQL and on the embedded NATS server.

What must hold all the same:

`)
	for _, p := range promises {
		fmt.Fprintf(&b, "- **%s** %s\n", p.letter, p.meaning)
	}
	fmt.Fprintf(&b, "\n## Covered: %d\n\n| | Case | Promise | Tests |\n|---|---|---|---|\n", len(c))
	for i, f := range catalogue {
		if tests := c[i+1]; len(tests) > 0 {
			fmt.Fprintf(&b, "| %d | %s | %s | %s |\n", i+1, f.title, letters(f), lines(tests))
		}
	}
	fmt.Fprintf(&b, "\n## Open: %d\n\nNo test reaches these yet.\n\n| | Case | Promise |\n|---|---|---|\n", len(c.open()))
	for _, n := range c.open() {
		fmt.Fprintf(&b, "| %d | %s | %s |\n", n, catalogue[n-1].title, letters(catalogue[n-1]))
	}
	b.WriteString("\n## Not to be reached yet\n\nThese need something that is still to be built.\n\n| | Case | Promise | Needs |\n|---|---|---|---|\n")
	for i, f := range catalogue {
		if f.later != "" && len(c[i+1]) == 0 {
			fmt.Fprintf(&b, "| %d | %s | %s | %s |\n", i+1, f.title, letters(f), f.later)
		}
	}
	return b.String()
}

func letters(f fault) string { return strings.Join(strings.Split(f.promises, ""), ", ") }

// lines lists tests in a cell of the table.
func lines(tests []test) string {
	var all []string
	for _, t := range tests {
		name := t.name
		if strings.Contains(name, " ") {
			name = "“" + name + "”"
		}
		all = append(all, "`"+t.dir+"` "+name)
	}
	return strings.Join(all, "<br>")
}
