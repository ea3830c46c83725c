package nats

import (
	"strings"
	"testing"

	"github.com/skald-go/skald"
)

func TestDifferentChannelsHaveDifferentStreamsAndSubjects(t *testing.T) {
	channels := []string{"a", "b", "a.b", "a-b", "a..b", "a...b", "a.-b", "a-.b", "a.0", "a.0.0", "0", "positions", "a.b.c", "a..b.c", "a.b..c"}
	streams, subjects := map[string]string{}, map[string]string{}
	for _, c := range channels {
		if err := skald.CheckName(c); err != nil {
			t.Fatal(err)
		}
		stream := strings.ToUpper(streamName(c)) // as some file systems see it
		if other, taken := streams[stream]; taken || stream == positionsStream {
			t.Errorf("channel %s has the stream %s of %q", c, stream, other)
		}
		streams[stream] = c
		for p := range 3 {
			subject := partitionSubject(c, p)
			if other, taken := subjects[subject]; taken {
				t.Errorf("channel %s has the subject %s of %s", c, subject, other)
			}
			subjects[subject] = c
			for _, token := range strings.Split(subject, ".") {
				if token == "" {
					t.Errorf("channel %s has the subject %s with an empty word", c, subject)
				}
			}
			for _, o := range channels {
				if matches := matches(channelSubject(o), subject); matches != (o == c) {
					t.Errorf("the stream of %s takes %s: %t", o, subject, matches)
				}
			}
		}
	}
}

// matches is what a server does with a pattern of words and asterisks.
func matches(pattern, subject string) bool {
	p, s := strings.Split(pattern, "."), strings.Split(subject, ".")
	if len(p) != len(s) {
		return false
	}
	for i := range p {
		if p[i] != "*" && p[i] != s[i] {
			return false
		}
	}
	return true
}

func TestAnyTextIsOneWordOfASubject(t *testing.T) {
	seen := map[string]string{}
	for _, text := range []string{"", "a", "a.b", "a_b", "a b", "a*", "a>", "=", "=3d", "ä", "A"} {
		word := token(text)
		if other, taken := seen[word]; taken || strings.ContainsAny(word, ". *>") || word == "" {
			t.Errorf("%q becomes %q, as does %q", text, word, other)
		}
		seen[word] = text
	}
}
