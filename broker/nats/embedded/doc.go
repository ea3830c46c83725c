// Package embedded runs a NATS server with JetStream in the process of a service, so that
// nothing else needs to be installed. [Start] runs one; [Shared] lets all processes on a
// machine that name the same folder share one, which moves to another of them when its
// host ends.
//
// The server listens on the loopback interface only and asks for a token. Whoever needs a
// broker across machines runs nats-server itself.
package embedded
