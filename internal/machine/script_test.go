package machine

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the transcripts in testdata from what the machine does now; review the diff")

// TestScripts runs every script in testdata. A script is a definition, then events; below
// each event stands what the machine did, which -update rewrites.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("the transcript differs; got:\n%s", got)
			}
		})
	}
}

// play runs a script and returns it with what the machine does now.
func play(t *testing.T, script string) string {
	t.Helper()
	var out strings.Builder
	var definition Definition
	var in Instance
	now, skipped := time.Unix(0, 0).UTC(), map[string]bool{}
	lines := bufio.NewScanner(strings.NewReader(script))
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "\t") {
			continue
		}
		out.WriteString(line + "\n")
		verb, rest, _ := strings.Cut(line, " ")
		switch verb {
		case "", "#":
		case "compensatable", "pivot", "retriable":
			definition.Steps = append(definition.Steps, readStep(t, verb, rest))
		case "within":
			definition.Deadline = duration(t, rest)
		case "unless": // the condition of a step does not hold
			skipped[rest] = true
		case "pass":
			now = now.Add(duration(t, rest))
		default:
			next, effects, err := Apply(&definition, in, readEvent(t, verb, rest), now, func(step string) bool { return !skipped[step] })
			in = next
			printOutcome(&out, &in, effects, err)
		}
	}
	return out.String()
}

var kinds = map[string]Kind{"": Call, "local": Local, "wait": Wait, "child": Child}

func duration(t *testing.T, s string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func readStep(t *testing.T, class, rest string) Step {
	t.Helper()
	fields := strings.Split(rest, "; ")
	s := Step{Name: fields[0], Class: map[string]Class{"compensatable": Compensatable, "pivot": Pivot, "retriable": Retriable}[class]}
	for _, field := range fields[1:] {
		switch name, value, _ := strings.Cut(field, " "); name {
		case "local", "wait", "child":
			s.Kind = kinds[name]
		case "undo":
			s.Undo, s.UndoKind = true, kinds[value]
		case "when":
			s.When = true
		case "branch": // GROUP.BRANCH
			if _, err := fmt.Sscanf(value, "%d.%d", &s.Group, &s.Branch); err != nil {
				t.Fatal(err)
			}
		case "deadline":
			s.Deadline = duration(t, value)
		default:
			t.Fatalf("step %q: what is %q?", s.Name, field)
		}
	}
	return s
}

// readEvent reads "done do 1 NAME", "refused undo 2 NAME", "locked do 1 NAME", "changed do 1 NAME", "rewound", "given NAME", "declined NAME", "start", "timeout",
// "cancel WHY", "resume WHY".
func readEvent(t *testing.T, verb, rest string) Event {
	t.Helper()
	switch verb {
	case "start":
		return Start{}
	case "timeout":
		return Timeout{}
	case "cancel":
		return Cancel{Detail: rest}
	case "resume":
		return Resume{Detail: rest}
	case "given":
		return Signal{Step: rest}
	case "declined":
		return Signal{Step: rest, Refused: true, Detail: "no"}
	case "rewound":
		return Rewound{}
	case "done", "refused", "locked", "changed":
		fields := strings.SplitN(rest, " ", 3)
		a := Answer{Action: Action(fields[0]), Step: fields[2], Refused: verb != "done", Again: verb == "locked" || verb == "changed"}
		if _, err := fmt.Sscan(fields[1], &a.Attempt); err != nil {
			t.Fatal(err)
		}
		if a.Refused {
			a.Detail = "no"
		}
		if verb == "locked" {
			a.Lock, a.Detail = "L", "the lock is another's"
		}
		return a
	default:
		t.Fatalf("what is %q?", verb)
		return nil
	}
}

func printOutcome(out *strings.Builder, in *Instance, effects []Effect, err error) {
	if err != nil {
		fmt.Fprintf(out, "\terror: %v\n", err)
		return
	}
	for _, effect := range effects {
		switch e := effect.(type) {
		case Record:
			fmt.Fprintf(out, "\t%d. %s\n", e.Number, strings.TrimSpace(e.Step+" "+e.What+" "+e.Detail))
		case Rewind:
			out.WriteString("\trewind\n")
		case Perform:
			if e.Action == Reserve {
				fmt.Fprintf(out, "\treserve %s for %s, attempt %d\n", e.Lock, e.Step, e.Attempt)
				continue
			}
			verb := map[Kind]string{Call: "send", Local: "run", Child: "child:"}[e.Kind]
			fmt.Fprintf(out, "\t%s %s of %s, attempt %d", verb, e.Action, e.Step, e.Attempt)
			if e.Barrier {
				fmt.Fprintf(out, ", barrier %d", e.DoAttempt)
			}
			out.WriteString("\n")
		}
	}
	fmt.Fprintf(out, "\t= %s", in.Status)
	if at := in.At(); at != "" {
		fmt.Fprintf(out, " at %s", at)
	}
	if !in.DueAt.IsZero() {
		fmt.Fprintf(out, ", due at %s", in.DueAt.Sub(time.Unix(0, 0)))
	}
	if in.Reason != "" {
		fmt.Fprintf(out, " (%s)", in.Reason)
	}
	out.WriteString("\n")
}
