//go:build race

package process

// RaceDetector reports whether the race detector is built in: it takes several times the memory.
const RaceDetector = true
