// SPDX-License-Identifier: Apache-2.0

//go:build linux && ocilayer_static

package ocilayer

// #cgo LDFLAGS: -Wl,--as-needed -l:libocilayer.a
// #cgo pkg-config: --static ocilayer
import "C"

// The archive stands before -locilayer, so that the shared library, where it is installed too, has
// nothing left to give and is not linked.
