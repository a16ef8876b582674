// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

// Renamed returns the labels of the balancers of after that an Apply takes for
// those of before, by the labels that they had. Of both only labels and
// addresses count.
func Renamed(before, after []Balancer) map[string]string {
	have := make(map[uint32]*balancer, len(before))
	for i, b := range before {
		was := &balancer{id: uint32(i), label: b.Label}
		for _, addr := range b.Addresses {
			was.addresses = append(was.addresses, plainAddr(addr))
		}
		have[was.id] = was
	}
	wanted := Desired{Balancers: after}
	sorted := wanted.sorted()
	labels := make(map[string]string, len(before))
	for i, was := range matchBalancers(sorted, have) {
		if was != nil {
			labels[was.label] = sorted[i].Label
		}
	}
	return labels
}
