package money_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/skald-go/skald/examples/ftgo/money"
)

func TestParseReadsTwoDigitsAndNothingElse(t *testing.T) {
	for text, want := range map[string]money.Amount{"0.00": 0, "0.01": 1, "12.50": 1250, "007.30": 730, "9999999999.99": money.Max} {
		if got, err := money.Parse(text); err != nil || got != want {
			t.Errorf("Parse(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "1", "1.", ".50", "1.5", "1.500", "-1.00", "+1.00", "1,00", "1e2.00", " 1.00", "1.00 ", "1.0x", "x.00",
		"0x1.00", "10000000000.00", "٣.00", "1.-1", "1..00",
	} {
		if got, err := money.Parse(text); err == nil {
			t.Errorf("Parse(%q) = %d, want an error", text, got)
		}
	}
}

func TestAmountsSurviveJSON(t *testing.T) {
	type priced struct {
		Price money.Amount  `json:"price"`
		Limit *money.Amount `json:"limit,omitempty"`
	}
	encoded, err := json.Marshal(priced{Price: 105})
	if err != nil || string(encoded) != `{"price":"1.05"}` {
		t.Fatalf("got %s, %v", encoded, err)
	}
	var decoded priced
	if err := json.Unmarshal([]byte(`{"price":"1.05","limit":null}`), &decoded); err != nil || decoded != (priced{Price: 105}) {
		t.Errorf("got %+v, %v", decoded, err)
	}
	for _, wrong := range []string{`{"price":1.05}`, `{"price":"1"}`, `{"price":true}`, `{"price":[]}`} {
		if err := json.Unmarshal([]byte(wrong), &decoded); err == nil {
			t.Errorf("%s was read", wrong)
		}
	}
}

func TestArithmeticNeverLeavesTheBounds(t *testing.T) {
	if got, err := money.Amount(730).Times(3); err != nil || got != 2190 {
		t.Errorf("7.30 times 3 is %s, %v", got, err)
	}
	if _, err := money.Max.Times(2); !errors.Is(err, money.ErrOverflow) {
		t.Errorf("twice the maximum: %v", err)
	}
	if _, err := money.Amount(1).Times(-1); err == nil {
		t.Error("a negative quantity was taken")
	}
	if got, err := (money.Max - 1).Plus(1); err != nil || got != money.Max {
		t.Errorf("up to the maximum: %s, %v", got, err)
	}
	if _, err := money.Max.Plus(1); !errors.Is(err, money.ErrOverflow) {
		t.Errorf("over the maximum: %v", err)
	}
	if got := money.Amount(-5).String(); got != "-0.05" {
		t.Errorf("a negative amount reads %s", got)
	}
}

func FuzzParseAndStringAgree(f *testing.F) {
	for _, text := range []string{"0.00", "12.50", "9999999999.99", "-1.00", "1.5"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		amount, err := money.Parse(text)
		if err != nil {
			return
		}
		again, err := money.Parse(amount.String())
		if err != nil || again != amount || amount < 0 || amount > money.Max {
			t.Errorf("%q is %d, written %q, read again %d, %v", text, amount, amount, again, err)
		}
	})
}
