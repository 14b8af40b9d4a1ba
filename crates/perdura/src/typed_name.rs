//! Names that carry the types of what they name.

/// Makes the type of names for one of the traits of things that can be named.
macro_rules! typed_name {
    ($(#[$doc:meta])* $name:ident is $of:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name<I, O> {
            name: &'static str,
            version: &'static str,
            types: std::marker::PhantomData<fn(I) -> O>,
        }

        impl<I, O> $name<I, O> {
            #[doc = concat!($what, " without a version.")]
            #[must_use]
            pub const fn new(name: &'static str) -> Self {
                $name { name, version: "", types: std::marker::PhantomData }
            }

            /// Asks for this version.
            #[must_use]
            pub const fn version(self, version: &'static str) -> Self {
                $name { version, ..self }
            }
        }

        impl<I, O> Clone for $name<I, O> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<I, O> Copy for $name<I, O> {}

        impl<I: $crate::payload::Payload, O: $crate::payload::Payload> $of for $name<I, O> {
            type Input = I;
            type Output = O;

            fn name(&self) -> &str {
                self.name
            }

            fn version(&self) -> &str {
                self.version
            }
        }

        impl<I: $crate::payload::Payload, O: $crate::payload::Payload> $of for &$name<I, O> {
            type Input = I;
            type Output = O;

            fn name(&self) -> &str {
                self.name
            }

            fn version(&self) -> &str {
                self.version
            }
        }
    };
}

pub(crate) use typed_name;
