package skald

// Resource names a kind of aggregate that one service owns, for example "ftgo.kitchen.ticket": what
// semantic locks are on, and what steps say that they read, raise or lower. Lower-case words joined
// by dots or dashes, as a channel's name.
type Resource string

// Validate says what is wrong with the name.
func (r Resource) Validate() error { return CheckName(string(r)) }
