package saga_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skald-go/skald/saga"
)

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *saga.Update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what is drawn now; look at it, then run with -update\n%s", path, got)
	}
}

func TestAChoreographyIsDrawnTheSameEveryTime(t *testing.T) {
	for range 20 {
		golden(t, "create-order.mmd", []byte(createOrder().Mermaid()))
		golden(t, "create-order.svg", createOrder().SVG())
	}
	golden(t, "bargain.svg", bargain(true).SVG())
}

func TestNamesAreEscapedInDrawings(t *testing.T) {
	c := createOrder()
	c.Participants[1].Reactions[0].Name = `create "<ticket>" & #1`
	c.Participants[1].Reactions[2].Undoes = c.Participants[1].Reactions[0].Name
	svg := c.SVG()
	var texts []string
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("no XML: %v", err)
		}
		if text, ok := token.(xml.CharData); ok {
			texts = append(texts, string(text))
		}
	}
	if !strings.Contains(strings.Join(texts, "\n"), `create "<ticket>" & #1`) {
		t.Errorf("%s", svg)
	}
	if text := c.Mermaid(); !strings.Contains(text, `create #quot;#lt;ticket#gt;#quot; #amp; #35;1"]`) {
		t.Error(text)
	}
}

func TestAnEmptyChoreographyIsDrawnAllTheSame(t *testing.T) {
	var c saga.Choreography
	if len(c.SVG()) == 0 || c.Mermaid() == "" {
		t.Error("nothing is drawn")
	}
}
