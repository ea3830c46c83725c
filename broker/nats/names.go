package nats

import (
	"fmt"
	"strconv"
	"strings"
)

// A channel's name has lower-case letters, digits, dots and dashes (skald.CheckName), so the
// underscore is free: the mappings below are injective. The stream of positions begins with
// two of them; a channel cannot begin with a dot, so no channel has its name, not even on a
// file system that takes upper and lower case for the same.
const (
	streamPrefix    = "SKALD_"
	positionsStream = "SKALD__POSITIONS"
	subjectPrefix   = "skald."
	positionsPrefix = "skald-positions."
)

func streamName(channel string) string {
	return streamPrefix + strings.ReplaceAll(channel, ".", "_")
}

// channelSubject is the subject of all the channel's partitions. Dots stay, so that other
// tools can subscribe to skald.order.>; between two dots an underscore stands for nothing.
func channelSubject(channel string) string { return subjectPrefix + spread(channel) + ".*" }

func partitionSubject(channel string, partition int) string {
	return subjectPrefix + spread(channel) + "." + strconv.Itoa(partition)
}

func spread(channel string) string {
	if !strings.Contains(channel, "..") {
		return channel
	}
	words := strings.Split(channel, ".")
	for i, word := range words {
		words[i] = orElse(word, "_")
	}
	return strings.Join(words, ".")
}

// positionSubject is where a group's position in a partition is registered.
func positionSubject(channel, group string, partition int) string {
	return positionsPrefix + token(channel) + "." + token(group) + "." + strconv.Itoa(partition)
}

// token makes any text one token of a subject.
func token(text string) string {
	if text == "" {
		return "="
	}
	var b strings.Builder
	for i := range len(text) {
		switch c := text[i]; {
		case c == '.':
			b.WriteByte('_')
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02x", c)
		}
	}
	return b.String()
}
