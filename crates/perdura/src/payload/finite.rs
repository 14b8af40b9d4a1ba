//! Finds the number in a value that JSON cannot write. `serde_json` writes `null` in its place, which reads back as an
//! error, or worse, as nothing.

use serde::ser::{self, Serialize, Serializer};
use std::fmt;

/// An error that names the first number that is not finite, and where it is.
pub(super) fn check<T: Serialize + ?Sized>(value: &T) -> Result<(), impl fmt::Display> {
    value.serialize(&mut Finder { path: String::new() })
}

struct Finder {
    path: String,
}

impl Finder {
    fn float(&self, number: f64) -> Result<(), Found> {
        let place = if self.path.is_empty() { "" } else { " at " };
        match number.is_finite() {
            true => Ok(()),
            false => Err(Found(format!("{number}{place}{}: JSON has no such number", self.path))),
        }
    }
}

#[derive(Debug)]
struct Found(String);

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Found {}

impl ser::Error for Found {
    fn custom<T: fmt::Display>(message: T) -> Found {
        Found(message.to_string())
    }
}

/// Serializers of what cannot hold a number.
macro_rules! nothing {
    ($($method:ident($($type:ty),*))*) => {
        $(fn $method(self $(, _: $type)*) -> Result<(), Found> { Ok(()) })*
    };
}

impl<'a> Serializer for &'a mut Finder {
    type Ok = ();
    type Error = Found;
    type SerializeSeq = Parts<'a>;
    type SerializeTuple = Parts<'a>;
    type SerializeTupleStruct = Parts<'a>;
    type SerializeTupleVariant = Parts<'a>;
    type SerializeMap = Parts<'a>;
    type SerializeStruct = Parts<'a>;
    type SerializeStructVariant = Parts<'a>;

    nothing! {
        serialize_bool(bool) serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64)
        serialize_i128(i128) serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64)
        serialize_u128(u128) serialize_char(char) serialize_str(&str) serialize_bytes(&[u8])
        serialize_none() serialize_unit() serialize_unit_struct(&'static str)
        serialize_unit_variant(&'static str, u32, &'static str)
    }

    fn serialize_f32(self, number: f32) -> Result<(), Found> {
        self.float(number.into())
    }

    fn serialize_f64(self, number: f64) -> Result<(), Found> {
        self.float(number)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Found> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Found> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Found> {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts<'a>, Found> {
        Ok(Parts::of(self))
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts<'a>, Found> {
        Ok(Parts::of(self))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Parts<'a>, Found> {
        Ok(Parts::of(self))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Parts<'a>, Found> {
        Ok(Parts::of(self))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Parts<'a>, Found> {
        Ok(Parts::of(self))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Parts<'a>, Found> {
        Ok(Parts::of(self))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Parts<'a>, Found> {
        Ok(Parts::of(self))
    }
}

/// The parts of a value, one after the other.
struct Parts<'a> {
    finder: &'a mut Finder,
    /// How long the path to the whole is.
    whole: usize,
    next: usize,
}

impl<'a> Parts<'a> {
    fn of(finder: &'a mut Finder) -> Parts<'a> {
        Parts { whole: finder.path.len(), finder, next: 0 }
    }

    fn name(&mut self, part: &str) {
        self.finder.path.truncate(self.whole);
        self.finder.path.push_str(part);
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Found> {
        self.name(&format!(".{name}"));
        self.value(value)
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Found> {
        self.name(&format!("[{}]", self.next));
        self.next += 1;
        self.value(value)
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Found> {
        value.serialize(&mut *self.finder)?;
        self.finder.path.truncate(self.whole);
        Ok(())
    }
}

macro_rules! elements {
    ($($of:ident::$method:ident)*) => {
        $(impl ser::$of for Parts<'_> {
            type Ok = ();
            type Error = Found;
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Found> {
                self.element(value)
            }
            fn end(self) -> Result<(), Found> {
                Ok(())
            }
        })*
    };
}

elements! {
    SerializeSeq::serialize_element
    SerializeTuple::serialize_element
    SerializeTupleStruct::serialize_field
    SerializeTupleVariant::serialize_field
}

macro_rules! fields {
    ($($of:ident)*) => {
        $(impl ser::$of for Parts<'_> {
            type Ok = ();
            type Error = Found;
            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Found> {
                self.field(name, value)
            }
            fn end(self) -> Result<(), Found> {
                Ok(())
            }
        })*
    };
}

fields! { SerializeStruct SerializeStructVariant }

impl ser::SerializeMap for Parts<'_> {
    type Ok = ();
    type Error = Found;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Found> {
        // A key that is a number without a value in JSON is refused by `serde_json` itself.
        self.name(&format!("[{}]", serde_json::to_string(key).unwrap_or_default()));
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Found> {
        self.value(value)
    }

    fn end(self) -> Result<(), Found> {
        Ok(())
    }
}
