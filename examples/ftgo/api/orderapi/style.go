package orderapi

// The styles in which the services are coordinated when an order is created.
const (
	// Orchestration is a saga whose orchestrator sends one command after the other.
	Orchestration = "orchestration"
	// Choreography has no orchestrator: the services react to each other's events.
	Choreography = "choreography"
	// Parallel is a saga whose validations run beside each other.
	Parallel = "parallel"
)

// Styles are all that work; the first is the default.
var Styles = []string{Orchestration, Choreography, Parallel}
