//! Tensors, as the Open Inference Protocol passes them: a name, a type, a shape, and numbers in little-endian order.

use bytes::{BufMut, Bytes, BytesMut};

/// Texts or files of one tensor.
const MOST_ELEMENTS: usize = 100_000;

/// What the elements of a tensor are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataType {
    Bool,
    Uint8,
    Int32,
    Int64,
    Fp32,
    Fp64,
    /// Texts or files of any length.
    Bytes,
}

impl DataType {
    pub(super) const ALL: [Self; 7] =
        [Self::Bool, Self::Uint8, Self::Int32, Self::Int64, Self::Fp32, Self::Fp64, Self::Bytes];

    /// Its name in the protocol.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Uint8 => "UINT8",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Fp32 => "FP32",
            Self::Fp64 => "FP64",
            Self::Bytes => "BYTES",
        }
    }

    /// The type of this name; `None` for one that no model here takes.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }
}

/// A tensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) datatype: DataType,
    pub(super) shape: Vec<i64>,
    /// The elements in order; of [`DataType::Bytes`] each with its length before it.
    pub(super) data: Bytes,
}

impl Tensor {
    pub(super) fn floats(name: &str, shape: Vec<i64>, values: impl IntoIterator<Item = f32>) -> Self {
        let data: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
        Self { name: name.to_owned(), datatype: DataType::Fp32, shape, data: data.into() }
    }

    pub(super) fn integers(name: &str, values: impl IntoIterator<Item = i64>) -> Self {
        let data: Vec<u8> = values.into_iter().flat_map(i64::to_le_bytes).collect();
        let shape = vec![(data.len() / 8) as i64];
        Self { name: name.to_owned(), datatype: DataType::Int64, shape, data: data.into() }
    }

    pub(super) fn doubles(name: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let data: Vec<u8> = values.into_iter().flat_map(f64::to_le_bytes).collect();
        let shape = vec![(data.len() / 8) as i64];
        Self { name: name.to_owned(), datatype: DataType::Fp64, shape, data: data.into() }
    }

    pub(super) fn texts<T: AsRef<[u8]>>(name: &str, values: impl IntoIterator<Item = T>) -> Self {
        let (mut data, mut count) = (BytesMut::new(), 0);
        for value in values {
            put_element(&mut data, value.as_ref());
            count += 1;
        }
        Self { name: name.to_owned(), datatype: DataType::Bytes, shape: vec![count], data: data.freeze() }
    }

    /// How many elements the shape says; `None` where it makes no sense.
    pub(super) fn count(&self) -> Option<usize> {
        self.shape.iter().try_fold(1_usize, |count, side| count.checked_mul(usize::try_from(*side).ok()?))
    }

    /// The elements of a tensor of texts or files; `None` where their lengths are wrong, or they are too many.
    pub(super) fn elements(&self) -> Option<Vec<Bytes>> {
        let (mut rest, mut elements) = (self.data.clone(), Vec::new());
        while !rest.is_empty() {
            let length = u32::from_le_bytes(*rest.first_chunk()?) as usize;
            if rest.len() - 4 < length || elements.len() >= MOST_ELEMENTS {
                return None;
            }
            let mut element = rest.split_off(4);
            rest = element.split_off(length);
            elements.push(element);
        }
        Some(elements)
    }
}

/// Adds an element of [`DataType::Bytes`].
pub(super) fn put_element(data: &mut BytesMut, element: &[u8]) {
    data.put_u32_le(u32::try_from(element.len()).unwrap_or(u32::MAX));
    data.extend_from_slice(element);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_have_their_lengths_before_them() {
        let tensor = Tensor::texts("labels", ["dog", "", "person"]);
        assert_eq!((tensor.shape.as_slice(), tensor.count()), (&[3][..], Some(3)));
        let elements = tensor.elements().expect("elements");
        assert_eq!(elements, [&b"dog"[..], b"", b"person"]);
        for cut in 1..tensor.data.len() {
            let torn = Tensor { data: tensor.data.slice(..cut), ..tensor.clone() };
            assert!(torn.elements().is_none_or(|elements| elements.len() < 3), "{cut}");
        }
    }

    #[test]
    fn a_shape_that_makes_no_sense_has_no_count() {
        let of = |shape: &[i64]| Tensor { shape: shape.to_vec(), ..Tensor::integers("a", []) }.count();
        assert_eq!(of(&[2, 3]), Some(6));
        assert_eq!(of(&[-1]), None);
        assert_eq!(of(&[i64::MAX, i64::MAX]), None);
        assert_eq!(of(&[0, 4]), Some(0));
    }
}
