//! Reads requests with tensors from gRPC, within bounds: a field of two bytes may stand for hundreds of them in memory.

use std::marker::PhantomData;

use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::ProstCodec;

use super::messages::ModelInferRequest;

/// Fields of one request, with those of the messages in it.
const MOST_FIELDS: usize = 100_000;

/// Requests with tensors, and answers `R`.
pub(super) struct InferCodec<R>(PhantomData<R>);

impl<R> Default for InferCodec<R> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<R: Message + Default + 'static> Codec for InferCodec<R> {
    type Encode = R;
    type Decode = ModelInferRequest;
    type Encoder = <ProstCodec<R, ModelInferRequest> as Codec>::Encoder;
    type Decoder = InferDecoder;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<R, ModelInferRequest>::default().encoder()
    }

    fn decoder(&mut self) -> InferDecoder {
        InferDecoder
    }
}

/// Reads a request once its fields are counted.
pub(super) struct InferDecoder;

impl Decoder for InferDecoder {
    type Item = ModelInferRequest;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<ModelInferRequest>, Status> {
        use bytes::Buf;
        let bytes = source.copy_to_bytes(source.remaining());
        let mut left = MOST_FIELDS;
        count(&bytes, Of::Request, &mut left)?;
        ModelInferRequest::decode(bytes).map(Some).map_err(|error| Status::invalid_argument(error.to_string()))
    }
}

/// Which message fields are of.
#[derive(Clone, Copy)]
enum Of {
    Request,
    Input,
    Output,
    /// One whose fields are numbers, texts and bytes.
    Leaf,
}

impl Of {
    /// The message that a field is.
    fn field(self, number: u32) -> Option<Self> {
        match (self, number) {
            (Self::Request, 5) => Some(Self::Input),
            (Self::Request, 6) => Some(Self::Output),
            (Self::Request | Self::Input, 4) | (Self::Input, 5) | (Self::Output, 2) => Some(Self::Leaf),
            _ => None,
        }
    }
}

/// Counts the fields of a message, and of those in it.
fn count(mut message: &[u8], of: Of, left: &mut usize) -> Result<(), Status> {
    let wrong = |reason: &str| Status::invalid_argument(format!("the request is no message of the protocol: {reason}"));
    while !message.is_empty() {
        *left = left.checked_sub(1).ok_or_else(|| {
            Status::invalid_argument(format!(
                "the request has more than {MOST_FIELDS} fields: send tensors in raw_input_contents"
            ))
        })?;
        let (number, kind) = decode_key(&mut message).map_err(|error| wrong(&error.to_string()))?;
        let length = match kind {
            WireType::Varint => {
                decode_varint(&mut message).map_err(|error| wrong(&error.to_string()))?;
                0
            }
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::LengthDelimited => {
                let length = decode_varint(&mut message).map_err(|error| wrong(&error.to_string()))?;
                usize::try_from(length).unwrap_or(usize::MAX)
            }
            WireType::StartGroup | WireType::EndGroup => return Err(wrong("it has groups")),
        };
        let (field, rest) = message.split_at_checked(length).ok_or_else(|| wrong("it ends early"))?;
        if let (WireType::LengthDelimited, Some(of)) = (kind, of.field(number)) {
            count(field, of, left)?;
        }
        message = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::messages::{InferInputTensor, InferTensorContents};
    use super::*;

    fn counted(bytes: &[u8]) -> Result<usize, String> {
        let mut left = MOST_FIELDS;
        count(bytes, Of::Request, &mut left).map_err(|status| status.message().to_owned())?;
        Ok(MOST_FIELDS - left)
    }

    #[test]
    fn fields_are_counted_with_those_of_messages_in_them() {
        let contents =
            InferTensorContents { bytes_contents: vec![vec![1].into(), vec![].into()], ..Default::default() };
        let input = InferInputTensor {
            name: "image".to_owned(),
            datatype: "BYTES".to_owned(),
            shape: vec![2],
            parameters: HashMap::new(),
            contents: Some(contents),
        };
        let request = ModelInferRequest { model_name: "m".to_owned(), inputs: vec![input], ..Default::default() };
        // The name, the input, its name, type, shape and contents, and two elements.
        assert_eq!(counted(&request.encode_to_vec()), Ok(8));
        assert_eq!(counted(&[]), Ok(0));
    }

    #[test]
    fn a_request_of_nothing_but_empty_tensors_is_refused_before_it_is_read() {
        let empty = [0x2a, 0].repeat(MOST_FIELDS + 1);
        assert!(counted(&empty).expect_err("too many").contains("raw_input_contents"));
        let inside =
            InferTensorContents { bytes_contents: vec![Default::default(); MOST_FIELDS], ..Default::default() };
        let input = InferInputTensor { contents: Some(inside), ..Default::default() };
        let request = ModelInferRequest { inputs: vec![input], ..Default::default() };
        assert!(counted(&request.encode_to_vec()).is_err());
        for torn in [&[0x2a, 5, 1][..], &[0x2a], &[0x2b], &[0xff; 11]] {
            assert!(counted(torn).expect_err("torn").contains("no message"), "{torn:?}");
        }
    }
}
