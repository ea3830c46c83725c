// Package money is an amount of money: whole cents inside, a decimal string with two digits
// outside.
package money

import (
	"errors"
	"fmt"
	"strconv"
)

// Amount is a number of cents. Amounts that come from outside lie between 0 and [Max].
type Amount int64

// Max is the greatest amount that Parse reads: 9,999,999,999.99.
const Max Amount = 999_999_999_999

// ErrOverflow says that a result is greater than Max.
var ErrOverflow = errors.New("money: more than " + Max.String())

// Parse reads digits, a point and two digits: "12.50". There is no sign, no exponent and no
// currency.
func Parse(s string) (Amount, error) {
	point := len(s) - 3
	if point < 1 || point > 10 || s[point] != '.' {
		return 0, syntax(s)
	}
	var cents Amount
	for i := range len(s) {
		if i == point {
			continue
		}
		if s[i] < '0' || s[i] > '9' {
			return 0, syntax(s)
		}
		cents = cents*10 + Amount(s[i]-'0')
	}
	return cents, nil
}

func syntax(s string) error {
	return fmt.Errorf("money: %.20q is not an amount such as \"12.50\", at most %s", s, Max)
}

// String is the form that Parse reads; a negative amount has a sign.
func (a Amount) String() string { return string(a.append(nil)) }

func (a Amount) append(b []byte) []byte {
	cents := uint64(a)
	if a < 0 {
		b, cents = append(b, '-'), -cents
	}
	b = strconv.AppendUint(b, cents/100, 10)
	return append(b, '.', '0'+byte(cents/10%10), '0'+byte(cents%10))
}

// MarshalJSON implements [encoding/json.Marshaler] with a string.
func (a Amount) MarshalJSON() ([]byte, error) {
	return append(a.append(append(make([]byte, 0, 16), '"')), '"'), nil
}

// UnmarshalJSON implements [encoding/json.Unmarshaler]; like everywhere in JSON, null changes
// nothing.
func (a *Amount) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	if len(data) < 2 || data[0] != '"' || data[len(data)-1] != '"' {
		return syntax(string(data))
	}
	parsed, err := Parse(string(data[1 : len(data)-1]))
	if err == nil {
		*a = parsed
	}
	return err
}

// Times multiplies by a quantity that is not negative; an amount over Max is [ErrOverflow].
func (a Amount) Times(quantity int) (Amount, error) {
	if a < 0 || quantity < 0 {
		return 0, fmt.Errorf("money: %s times %d: neither may be negative", a, quantity)
	}
	if quantity > 0 && a > Max/Amount(quantity) {
		return 0, ErrOverflow
	}
	return a * Amount(quantity), nil
}

// Plus adds an amount; a sum over Max is [ErrOverflow].
func (a Amount) Plus(b Amount) (Amount, error) {
	if b > Max-a {
		return 0, ErrOverflow
	}
	return a + b, nil
}
