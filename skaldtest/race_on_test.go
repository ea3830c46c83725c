//go:build race

package skaldtest

const raceDetector = true
