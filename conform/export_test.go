package conform

import "time"

// LosePatience makes every wait short.
func LosePatience() { patience = 3 * time.Second }
