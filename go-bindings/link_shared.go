// SPDX-License-Identifier: Apache-2.0

//go:build linux && !ocilayer_static

package ocilayer

// #cgo pkg-config: ocilayer
import "C"
