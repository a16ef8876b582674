// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"sync/atomic"
	"time"
)

// EmbryonicUnit is how exactly the age of embryonic records is known. Ages are
// known modulo 256 of it.
const EmbryonicUnit = time.Duration(1<<weirEmbryonicBitsEMBRYONIC_STAMP_UNIT_BITS) * time.Millisecond

// Embryonic returns how many embryonic records there are.
func (t *Tables) Embryonic() (n uint32, err error) {
	err = window(t.maps.Embryonic, 0, t.maps.Embryonic.MaxEntries(), false, func(words []uint64) {
		for i := range words {
			if atomic.LoadUint64(&words[i]) != 0 {
				n++
			}
		}
	})
	return n, err
}

// SweepEmbryonic removes the embryonic records that are older than age, and
// returns how many are left. now is the time by FlowClock. A record that a
// packet writes at the same time stays.
func (t *Tables) SweepEmbryonic(now uint32, age time.Duration) (left uint32, err error) {
	unit := uint8(now >> weirEmbryonicBitsEMBRYONIC_STAMP_UNIT_BITS)
	oldest := uint8(min((age+EmbryonicUnit-1)/EmbryonicUnit, 254)) // stamps are rounded down
	err = window(t.maps.Embryonic, 0, t.maps.Embryonic.MaxEntries(), true, func(words []uint64) {
		for i := range words {
			word := atomic.LoadUint64(&words[i])
			if word == 0 {
				continue
			}
			stamp := uint8(word >> weirEmbryonicBitsEMBRYONIC_STAMP_SHIFT)
			if unit-stamp > oldest && atomic.CompareAndSwapUint64(&words[i], word, 0) {
				t.writes.Add(1)
				continue
			}
			left++
		}
	})
	return left, err
}
