package cloudevents

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// plain reports whether the HTTP binding leaves the byte as it is: printable ASCII but for
// space, double quote and percent.
func plain(c byte) bool { return c > 0x20 && c < 0x7f && c != '"' && c != '%' }

// escape percent-encodes a value for a header.
func escape(s string) string {
	bad := 0
	for i := range len(s) {
		if !plain(s[i]) {
			bad++
		}
	}
	if bad == 0 {
		return s
	}
	const digits = "0123456789ABCDEF"
	b := make([]byte, 0, len(s)+2*bad)
	for i := range len(s) {
		if c := s[i]; plain(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return string(b)
}

// unescape takes off double quotes with their backslashes, which others may send, and then
// decodes percent signs once. A percent sign that no two hexadecimal digits follow stands
// for itself. What comes out must be UTF-8 without control characters.
func unescape(s string) (string, error) {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = unquote(s[1 : len(s)-1])
	}
	if strings.Contains(s, "%") {
		s = unpercent(s)
	}
	if !printable(s) {
		return "", errors.New("not UTF-8 without control characters")
	}
	return s, nil
}

func unquote(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

func unpercent(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			high, low := unhex(s[i+1]), unhex(s[i+2])
			if high >= 0 && low >= 0 {
				b = append(b, byte(high<<4|low))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	default:
		return -1
	}
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return false
		}
	}
	return utf8.ValidString(s)
}
