// SPDX-License-Identifier: Apache-2.0
//! How options are set.

/// Sets a field and gives the whole back, so that options can be written down in one expression.
macro_rules! setters {
    ($($(#[$doc:meta])* $field:ident: $type:ty;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $field(mut self, $field: $type) -> Self {
            self.$field = $field;
            self
        }
    )*};
}
pub(crate) use setters;
