// Package consumerapi is what the consumer service asks for, answers and tells.
package consumerapi

import (
	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/money"
)

// The channels of the consumer service.
const (
	Commands = "ftgo.consumer"
	Events   = "ftgo.consumer.events"
)

// The codes with which a verification is refused.
const (
	RefusedUnknownConsumer = "unknown_consumer"
	RefusedOverOrderLimit  = "over_order_limit"
)

// Consumers are who places orders.
const Consumers skald.Resource = "ftgo.consumer.consumer"

// VerifyConsumer asks whether a consumer may place an order. It changes nothing.
var VerifyConsumer = skald.Command[Verification, Verified]{
	Name:     "ftgo.consumer.verify-consumer",
	Channel:  Commands,
	Key:      func(v Verification) string { return v.ConsumerID },
	Refusals: []string{RefusedUnknownConsumer, RefusedOverOrderLimit},
}

// Verification is the order that a consumer wants to place.
type Verification struct {
	OrderID    string       `json:"orderId"`
	ConsumerID string       `json:"consumerId"`
	Total      money.Amount `json:"total"`
}

// Verified says that the consumer may.
type Verified struct{}

// ConsumerRegistered tells of a new consumer.
var ConsumerRegistered = skald.Event[Consumer]{
	Name:    "ftgo.consumer.consumer-registered",
	Channel: Events,
	Key:     func(c Consumer) string { return c.ID },
}

// ConsumerVerified tells that the consumer may place an order, where the creation is choreographed.
var ConsumerVerified = skald.Event[orderapi.About]{
	Name: "ftgo.consumer.consumer-verified", Channel: Events, Key: orderapi.About.Key,
}

// ConsumerVerificationFailed tells that the consumer may not, with a code as VerifyConsumer's.
var ConsumerVerificationFailed = skald.Event[orderapi.Failure]{
	Name: "ftgo.consumer.consumer-verification-failed", Channel: Events, Key: orderapi.Failure.Key,
}

// Consumer is a consumer as others may know it.
type Consumer struct {
	ID string `json:"id"`
	// Version counts the changes to the consumer, from 1. Commands to services that replicate
	// consumers name the version that they rely on.
	Version int    `json:"version"`
	Name    string `json:"name"`
	// OrderLimit is the greatest total of one order; none when absent.
	OrderLimit *money.Amount `json:"orderLimit,omitempty"`
	// CreditLimit is the greatest sum of the live card authorizations.
	CreditLimit money.Amount `json:"creditLimit"`
}
