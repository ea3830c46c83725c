package skaldtest

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the guide's pictures and its table")

// The columns of the matrix.
var countermeasures = []countermeasure{noMeasure, semanticLock, commutative, pessimistic, rereadValue, versionFile, byValueLarge, byValueSmall}

func (a *anomalyScene) prevents(m countermeasure) bool { return slices.Contains(a.prevented, m) }

func (a *anomalyScene) play(t *testing.T, m countermeasure, config Interleaving) Interleaved {
	t.Helper()
	r, err := interleave(t.Context(), config, func(s *Scene) { a.set(newAnomalyShop(s, m)) })
	if err != nil {
		t.Fatalf("%s against a %s: %v", m, a.name, err)
	}
	t.Logf("%s, %s: %s", a.name, m, r)
	if r.Sampled {
		t.Errorf("%s against a %s: there are too many interleavings to run them all", m, a.name)
	}
	return r
}

// check holds a measured cell to what the countermeasure claims.
func (a *anomalyScene) check(t *testing.T, m countermeasure, r Interleaved) {
	t.Helper()
	o, occurs := r.Occurred[a.anomaly]
	switch {
	case a.prevents(m) && occurs:
		t.Errorf("%s claims to prevent this:\n%s", m, o)
	case (m == noMeasure || m == byValueSmall) && !occurs:
		t.Errorf("%s: there is no %s: the detector does not bite", m, a.name)
	case m == semanticLock && len(r.Occurred) > 0:
		t.Errorf("%s, %s: what every saga locks before it looks is kept from all anomalies: %s", m, a.name, r)
	}
}

// Each countermeasure prevents what it claims to, in every interleaving, and without one every anomaly shows. What a
// countermeasure does not claim is measured as well. The guide's table is what is measured here.
//
// Faults: 62.
func TestEachCountermeasurePreventsWhatItClaimsInEveryCourse(t *testing.T) {
	withoutRaceDetector(t)
	table := matrixHead()
	for _, scene := range anomalyScenes() {
		table += "| " + scene.name + ": " + scene.story + " |"
		for _, m := range countermeasures {
			r := scene.play(t, m, Interleaving{})
			scene.check(t, m, r)
			table += " " + scene.cell(m, r) + " |"
			if m == noMeasure {
				picture(t, scene, r.Occurred[scene.anomaly])
			}
		}
		table += "\n"
	}
	inGuide(t, "../docs/guide/isolation.md", "matrix", table)
}

func TestWhatIsPreventedIsPreventedWithTwoAbortsInEveryCourse(t *testing.T) {
	withoutRaceDetector(t)
	for _, scene := range anomalyScenes() {
		for _, m := range scene.prevented {
			if m == byValueLarge { // all its requests take the path with locks
				continue
			}
			scene.check(t, m, scene.play(t, m, Interleaving{Aborts: 2}))
		}
	}
}

// A part of the matrix, small enough for the race detector.
func TestAnAnomalyShowsAndIsPrevented(t *testing.T) {
	scene := anomalyScenes()[0]
	for _, m := range []countermeasure{noMeasure, semanticLock, pessimistic} {
		scene.check(t, m, scene.play(t, m, Interleaving{}))
	}
}

func matrixHead() string {
	head, line := "| |", "|---|"
	for _, m := range countermeasures {
		head += " " + string(m) + " |"
		line += "---|"
	}
	return head + "\n" + line + "\n"
}

// cell is what was measured; bold is what the countermeasure claims.
func (a *anomalyScene) cell(m countermeasure, r Interleaved) string {
	o, occurs := r.Occurred[a.anomaly]
	switch {
	case a.prevents(m):
		return "**0**"
	case !occurs:
		return "0"
	default:
		return fmt.Sprintf("%.1f %%", 100*o.Share)
	}
}

// inGuide compares a part of a page, between its markers, with what it is to be.
func inGuide(t *testing.T, page, name, want string) {
	t.Helper()
	from, to := "<!-- "+name+": written by go test ./skaldtest -run EachCountermeasure -update -->\n", "<!-- end of "+name+" -->"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), from)
	got, after, closed := strings.Cut(rest, to)
	if !ok || !closed {
		t.Fatalf("%s has no lines %q and %q", page, from, to)
	}
	if got == "\n"+want+"\n" {
		return
	}
	if !*update {
		t.Errorf("%s: the %s is\n%s\nand should be\n%s", page, name, got, want)
		return
	}
	if err := os.WriteFile(page, []byte(before+from+"\n"+want+"\n"+to+after), 0o600); err != nil {
		t.Fatal(err)
	}
}

// picture compares the guide's picture of a scene with what is drawn now.
func picture(t *testing.T, scene anomalyScene, o Occurrence) {
	t.Helper()
	path := filepath.Join("../docs/guide/isolation", strings.ReplaceAll(scene.name, " ", "-")+".svg")
	drawn := drawOccurrence(scene, o)
	if *update {
		if err := os.WriteFile(path, drawn, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	there, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(there, drawn) {
		t.Errorf("%s is not what is drawn now; look at it, then run with -update", path)
	}
}
