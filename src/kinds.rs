//! A macro that declares the kinds of a thing: each with the word that scripts see, its meaning and the operator's next
//! step. `docs/problems.md` is made of these texts.

/// Declares an enum of kinds, one variant each: `Variant = "word" in "list": "meaning", "advice";`. The last line may be
/// `..Other(String);`, for the words of other versions.
macro_rules! kinds {
    (
        $(#[$about:meta])*
        pub enum $name:ident {
            $($variant:ident = $word:literal in $list:literal: $meaning:literal, $advice:literal;)*
            $(..$other:ident(String);)?
        }
    ) => {
        $(#[$about])*
        pub enum $name {
            $(#[doc = $meaning] #[doc = ""] #[doc = $advice] $variant,)*
            $(/// A kind that this version does not know.
            $other(String),)?
        }

        impl $name {
            /// All kinds that this version knows, in the order of `docs/problems.md`.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word that scripts see.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)*
                    $(Self::$other(word) => word,)?
                }
            }

            /// The list, or the lists, that it stands in; the event that it reports; and what the operator does.
            pub fn explain(&self) -> [&'static str; 3] {
                match self {
                    $(Self::$variant => [$list, $meaning, $advice],)*
                    $(Self::$other(_) => ["", "This version does not know the kind.", "Update telelake."],)?
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

pub(crate) use kinds;
