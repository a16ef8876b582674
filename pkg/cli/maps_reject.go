// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"time"
)

// rejectBucketRow is the entry of reject_bucket on one CPU that has answered.
type rejectBucketRow struct {
	CPU     uint32        `json:"cpu"`
	Answers uint64        `json:"answers"`   // that were left when it answered last
	Filled  time.Duration `json:"filled_ns"` // since boot: up to when answers were added
}

func rejectBucketColumns() []column {
	return []column{{name: "CPU", right: true}, {name: "ANSWERS", right: true}, {name: "FILLED", right: true}}
}

func (r rejectBucketRow) cells() []string {
	return []string{countText(r.CPU), packetsText(r.Answers), r.Filled.String()}
}

func dumpRejectBucket(in *inspection) (listing, error) {
	buckets, err := in.tables.RejectBuckets()
	var rows []rejectBucketRow
	for _, b := range buckets {
		rows = append(rows, rejectBucketRow{CPU: uint32(b.CPU), Answers: b.Answers, Filled: b.Filled})
	}
	return listOf(rows, rejectBucketColumns(), rejectBucketRow.cells), err
}

// findRejectBucket shows what all CPUs have under the one key that there is.
func findRejectBucket(in *inspection, index uint32) (listing, error) {
	if index != 0 {
		return listing{}, fmt.Errorf("reject_bucket has no entry %d", index)
	}
	return dumpRejectBucket(in)
}
