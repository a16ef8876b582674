// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/reconcile"
)

func TestOutages(t *testing.T) {
	up := reconcile.Backend{Health: lb.HealthUp, Reachable: true}
	down, drains := reconcile.Backend{Health: lb.HealthDown, Reachable: true}, up
	drains.Mode = lb.ModeDrain
	listener := func(port uint16, all lb.OnAllDown, backends ...reconcile.Backend) reconcile.Listener {
		return reconcile.Listener{Port: port, Protocol: lb.TCP, OnAllDown: all, Backends: backends}
	}
	d := reconcile.Desired{Balancers: []reconcile.Balancer{{Label: "web", Listeners: []reconcile.Listener{
		listener(1, lb.AllDownOpen, down, up),
		listener(2, lb.AllDownOpen, drains),
		listener(3, lb.AllDownReject, drains),
		listener(4, lb.AllDownOpen, drains, down),
		listener(5, lb.AllDownDrop, drains, down),
		listener(6, lb.AllDownReject),
	}}}}
	for planned, want := range map[bool][]string{
		false: {
			"no backend of web/2/tcp takes new flows: they are dropped",
			"no backend of web/3/tcp takes new flows: they are rejected",
			"no healthy backend of web/4/tcp is left: new flows go to those that are down",
			"no healthy backend of web/5/tcp is left: new flows are dropped",
			"listener web/6/tcp has no backends: its packets are rejected",
		},
		true: {
			"no backend of web/2/tcp would take new flows: they would be dropped",
			"no backend of web/3/tcp would take new flows: they would be rejected",
			"no healthy backend of web/4/tcp would be left: new flows would go to those that are down",
			"no healthy backend of web/5/tcp would be left: new flows would be dropped",
			"listener web/6/tcp would have no backends: its packets would be rejected",
		},
	} {
		if diff := cmp.Diff(want, outages(&d, planned)); diff != "" {
			t.Errorf("planned %t (-want +got):\n%s", planned, diff)
		}
	}
}
