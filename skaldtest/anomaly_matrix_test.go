package skaldtest

import (
	"testing"
)

func anomalyMeasures() []countermeasure {
	return []countermeasure{noMeasure, semanticLock, commutative, pessimistic, rereadValue, versionFile, byValueLarge, byValueSmall}
}

func TestMatrixDraft(t *testing.T) {
	for _, scene := range anomalyScenes() {
		for _, measure := range anomalyMeasures() {
			r, err := interleave(t.Context(), Interleaving{Tolerated: Anomalies()}, func(s *Scene) { scene.set(newAnomalyShop(s, measure)) })
			if err != nil {
				t.Errorf("%s, %s: %v", scene.name, measure, err)
				continue
			}
			t.Logf("%s, %s: %s", scene.name, measure, r)
			if measure == noMeasure {
				t.Logf("%s", r.Occurred[scene.anomaly])
			}
		}
	}
}
