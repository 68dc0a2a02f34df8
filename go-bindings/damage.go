// SPDX-License-Identifier: Apache-2.0

package ocilayer

import (
	"fmt"
	"io"
)

// DamageKind says how a directory is not what its layer makes it. More kinds may come.
type DamageKind uint32

const (
	// DamageWronglyOpaque is a directory that is opaque and should not be: what the lower layers
	// have in it is hidden.
	DamageWronglyOpaque DamageKind = 1
	// DamageLost is a name of a lower layer, whose directory is Detail, that a wrong mark hides.
	DamageLost DamageKind = 2
	// DamageNotOpaque is a directory that should be opaque and is not.
	DamageNotOpaque DamageKind = 3
	// DamageMissingWhiteout is a name that the layer deletes and that is not deleted.
	DamageMissingWhiteout DamageKind = 4
	// DamageUnexpectedWhiteout is a name that is deleted and that the layer does not delete.
	DamageUnexpectedWhiteout DamageKind = 5
	// DamageMissing is an entry of the layer that the directory does not have.
	DamageMissing DamageKind = 6
	// DamageUnexpected is a name of the directory that the layer does not have.
	DamageUnexpected DamageKind = 7
	// DamageDiffers is an entry that is another one than the layer's; Detail says in what.
	DamageDiffers DamageKind = 8
	// DamageSuspect is an opaque mark where a lower layer, whose directory is Detail, has one as
	// well. The defect makes such marks, but so does deleting and making a directory twice.
	DamageSuspect DamageKind = 9
)

// The last of them that this package knows, to ask the library how many there were of each.
const lastDamage = DamageSuspect

var damageNames = map[DamageKind]string{
	DamageWronglyOpaque: "wrongly_opaque", DamageLost: "lost", DamageNotOpaque: "not_opaque",
	DamageMissingWhiteout: "missing_whiteout", DamageUnexpectedWhiteout: "unexpected_whiteout",
	DamageMissing: "missing", DamageUnexpected: "unexpected", DamageDiffers: "differs", DamageSuspect: "suspect",
}

// DamageKinds returns every kind that this package knows, in the order of their numbers.
func DamageKinds() []DamageKind {
	kinds := make([]DamageKind, lastDamage)
	for i := range kinds {
		kinds[i] = DamageKind(i + 1)
	}
	return kinds
}

// String is the kind's name in the library's JSON.
func (k DamageKind) String() string {
	if name, known := damageNames[k]; known {
		return name
	}
	return fmt.Sprintf("kind %d", uint32(k))
}

// Damage is one thing that an audit found. Names are bytes as they stand on disk.
type Damage struct {
	Kind DamageKind
	// Directory is the layer's, as the caller named it.
	Directory string
	// Path is below that directory; empty for the directory itself.
	Path string
	// Detail is as the kind says, else empty.
	Detail string
	// Message is the kind in a few words, for people.
	Message string
}

// String has the place and the message, with names escaped for a terminal.
func (d Damage) String() string {
	text := fmt.Sprintf("%s: %q in %q", d.Message, d.Path, d.Directory)
	if d.Detail != "" {
		text += fmt.Sprintf(": %q", d.Detail)
	}
	return text
}

// AuditLayer is a layer and the directory that it was unpacked to.
type AuditLayer struct {
	// Blob gives the layer as [Unpack] takes it.
	Blob      io.Reader
	Directory string
}

// AuditReport is what an audit comes to.
type AuditReport struct {
	// Damaged says that there is damage, and not only suspicion.
	Damaged bool
	// Layers that were looked at.
	Layers uint64
	// Damage has the number of each kind that there was.
	Damage map[DamageKind]uint64
	// Repaired counts the marks that were removed.
	Repaired uint64
	// Whiteouts counts those that were written where such a mark had hidden what the layer deletes.
	Whiteouts uint64
	// Restored counts the names that a restore made anew or mended.
	Restored uint64
	// JSON is all of it as one object.
	JSON string
}
