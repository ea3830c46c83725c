//go:build !race

package skaldtest

const raceDetector = false
