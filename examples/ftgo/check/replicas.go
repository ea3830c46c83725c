package check

// replicasAgree is invariant 10.
func replicasAgree(s *snapshot, report report) {
	for service, replica := range s.restaurantReplicas {
		compare(s.restaurants, replica, service+"'s replica of restaurant", report)
	}
	orderView := make(map[string]consumerFacts, len(s.consumers))
	accountView := make(map[string]accountFacts, len(s.consumers))
	for id, c := range s.consumers {
		orderView[id] = consumerFacts{c.version, c.orderLimit}
		accountView[id] = accountFacts{c.version, c.creditLimit}
	}
	compare(orderView, s.consumerReplica, "order's replica of consumer", report)
	accounts := make(map[string]accountFacts, len(s.accounts))
	for id, a := range s.accounts {
		accounts[id] = accountFacts{a.consumerVersion, a.creditLimit}
	}
	compare(accountView, accounts, "the account of consumer", report)
}

// compare reports what is missing, differs or is too much.
func compare[V comparable](owner, replica map[string]V, what string, report report) {
	for id, owned := range owner {
		switch copied, ok := replica[id]; {
		case !ok:
			report("%s %s is missing", what, id)
		case copied != owned:
			report("%s %s is %v, its owner says %v", what, id, copied, owned)
		}
	}
	for id := range replica {
		if _, ok := owner[id]; !ok {
			report("%s %s: its owner does not know it", what, id)
		}
	}
}
