//! Requests and answers over HTTP: JSON, with the bytes of tensors behind it where the client wants that.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::request::{InferAnswer, InferRequest, Refusal};
use super::tensor::{DataType, Tensor, put_element};

/// Elements of one request that are written as JSON: each takes far more room in memory than there.
const MOST_ELEMENTS: usize = 4_000_000;

#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    id: String,
    #[serde(default)]
    parameters: BTreeMap<String, Value>,
    #[serde(default)]
    inputs: Vec<WrittenInput>,
    #[serde(default)]
    outputs: Vec<WrittenOutput>,
}

#[derive(Deserialize)]
struct WrittenInput {
    name: String,
    datatype: String,
    shape: Vec<i64>,
    #[serde(default)]
    parameters: BTreeMap<String, Value>,
    #[serde(default)]
    data: Value,
}

#[derive(Deserialize)]
struct WrittenOutput {
    name: String,
    #[serde(default)]
    parameters: BTreeMap<String, Value>,
}

/// Which outputs are answered as bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Binary {
    all: bool,
    named: BTreeMap<String, bool>,
}

impl Binary {
    fn is(&self, name: &str) -> bool {
        self.named.get(name).copied().unwrap_or(self.all)
    }
}

/// Reads a request: JSON of `header` bytes, all of it where none are named, and the bytes of tensors.
pub(super) fn read(body: &Bytes, header: Option<usize>) -> Result<(InferRequest, Binary), Refusal> {
    let header = header.unwrap_or(body.len());
    if header > body.len() {
        let message = format!("Inference-Header-Content-Length is {header}, and the body has {} bytes", body.len());
        return Err(Refusal::Invalid(message));
    }
    let (text, mut rest) = (body.slice(..header), body.slice(header..));
    if text.iter().filter(|byte| **byte == b',').count() > MOST_ELEMENTS {
        let message = format!("the request has more than {MOST_ELEMENTS} elements as JSON: send tensors as bytes");
        return Err(Refusal::Invalid(message));
    }
    let wrong = |error: serde_json::Error| Refusal::Invalid(format!("the request is no JSON of the protocol: {error}"));
    let Written { id, parameters, inputs, outputs } = serde_json::from_slice(&text).map_err(wrong)?;
    let mut tensors = Vec::new();
    for input in inputs {
        tensors.push(tensor(input, &mut rest)?);
    }
    if !rest.is_empty() {
        return Err(Refusal::Invalid(format!("{} bytes behind the inputs belong to none", rest.len())));
    }
    let flag = |parameters: &BTreeMap<String, Value>, name| parameters.get(name).and_then(Value::as_bool);
    let binary = Binary {
        all: flag(&parameters, "binary_data_output").unwrap_or(false),
        named: outputs
            .iter()
            .filter_map(|output| Some((output.name.clone(), flag(&output.parameters, "binary_data")?)))
            .collect(),
    };
    let outputs = outputs.into_iter().map(|output| output.name).collect();
    Ok((InferRequest { id, parameters, inputs: tensors, outputs, ..InferRequest::default() }, binary))
}

fn tensor(input: WrittenInput, rest: &mut Bytes) -> Result<Tensor, Refusal> {
    let WrittenInput { name, datatype, shape, parameters, data } = input;
    let Some(datatype) = DataType::named(&datatype) else {
        return Err(Refusal::Invalid(format!("{name}: no model here takes {datatype}; send BYTES or UINT8")));
    };
    let size = parameters.get("binary_data_size").and_then(Value::as_u64);
    let data = match size.map(usize::try_from) {
        Some(Ok(size)) if size <= rest.len() => rest.split_to(size),
        Some(_) => {
            return Err(Refusal::Invalid(format!("{name}: its bytes are not all there: {} are left", rest.len())));
        }
        None => {
            let mut bytes = BytesMut::new();
            flatten(&data, datatype, &mut bytes)
                .map_err(|reason| Refusal::Invalid(format!("{name}: {reason}, for {}", datatype.as_str())))?;
            bytes.freeze()
        }
    };
    Ok(Tensor { name, datatype, shape, data })
}

/// The elements of nested lists, in order.
fn flatten(value: &Value, datatype: DataType, out: &mut BytesMut) -> Result<(), String> {
    if let Value::Array(items) = value {
        return items.iter().try_for_each(|item| flatten(item, datatype, out));
    }
    let wrong = || format!("{} is no element", shortened(value));
    let whole = || value.as_i64().ok_or_else(wrong);
    match datatype {
        DataType::Bool => out.extend_from_slice(&[u8::from(value.as_bool().ok_or_else(wrong)?)]),
        DataType::Uint8 => out.extend_from_slice(&[u8::try_from(whole()?).map_err(|_| wrong())?]),
        DataType::Int32 => out.extend_from_slice(&i32::try_from(whole()?).map_err(|_| wrong())?.to_le_bytes()),
        DataType::Int64 => out.extend_from_slice(&whole()?.to_le_bytes()),
        DataType::Fp32 => out.extend_from_slice(&(value.as_f64().ok_or_else(wrong)? as f32).to_le_bytes()),
        DataType::Fp64 => out.extend_from_slice(&value.as_f64().ok_or_else(wrong)?.to_le_bytes()),
        DataType::Bytes => put_element(out, &file(value).ok_or_else(wrong)?),
    }
    Ok(())
}

/// A file in JSON: base64, or an object `{"b64": ...}` as some servers have it; else text as it is.
fn file(value: &Value) -> Option<Vec<u8>> {
    if let Some(coded) = value.get("b64").and_then(Value::as_str) {
        return STANDARD.decode(coded).ok();
    }
    let text = value.as_str()?;
    Some(STANDARD.decode(text).unwrap_or_else(|_| text.as_bytes().to_vec()))
}

fn shortened(value: &Value) -> String {
    value.to_string().chars().take(40).collect()
}

/// Writes an answer: the body, and how many bytes of it are JSON where others follow.
pub(super) fn write(answer: &InferAnswer, binary: &Binary) -> Result<(Vec<u8>, Option<usize>), Refusal> {
    let (mut outputs, mut behind) = (Vec::new(), Vec::new());
    for tensor in &answer.outputs {
        let mut output = Map::new();
        output.insert("name".to_owned(), tensor.name.as_str().into());
        output.insert("datatype".to_owned(), tensor.datatype.as_str().into());
        output.insert("shape".to_owned(), json!(tensor.shape));
        if binary.is(&tensor.name) {
            output.insert("parameters".to_owned(), json!({ "binary_data_size": tensor.data.len() }));
            behind.extend_from_slice(&tensor.data);
        } else {
            output.insert("data".to_owned(), elements(tensor));
        }
        outputs.push(Value::Object(output));
    }
    let mut written = json!({
        "model_name": answer.model,
        "model_version": answer.version,
        "outputs": outputs,
    });
    if !answer.id.is_empty() {
        written["id"] = answer.id.as_str().into();
    }
    let is_binary = answer.outputs.iter().any(|tensor| binary.is(&tensor.name));
    let mut body = serde_json::to_vec(&written).map_err(|error| Refusal::Failed(error.to_string()))?;
    let header = is_binary.then_some(body.len());
    body.append(&mut behind);
    Ok((body, header))
}

/// The elements of a tensor as JSON; files that are no text as base64.
fn elements(tensor: &Tensor) -> Value {
    let data = &tensor.data;
    match tensor.datatype {
        DataType::Bool => data.iter().map(|byte| Value::Bool(*byte != 0)).collect(),
        DataType::Uint8 => data.iter().map(|byte| Value::from(*byte)).collect(),
        DataType::Int32 => data.as_chunks().0.iter().map(|bytes| Value::from(i32::from_le_bytes(*bytes))).collect(),
        DataType::Int64 => data.as_chunks().0.iter().map(|bytes| Value::from(i64::from_le_bytes(*bytes))).collect(),
        DataType::Fp32 => data.as_chunks().0.iter().map(|bytes| Value::from(f32::from_le_bytes(*bytes))).collect(),
        DataType::Fp64 => data.as_chunks().0.iter().map(|bytes| Value::from(f64::from_le_bytes(*bytes))).collect(),
        DataType::Bytes => {
            let text = |bytes: Bytes| match std::str::from_utf8(&bytes) {
                Ok(text) => Value::from(text),
                Err(_) => Value::from(STANDARD.encode(&bytes)),
            };
            tensor.elements().unwrap_or_default().into_iter().map(text).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_behind_the_json_belong_to_the_inputs_in_order() {
        let json = br#"{"id": "7", "parameters": {"binary_data_output": true}, "inputs": [
            {"name": "a", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 7}},
            {"name": "b", "datatype": "UINT8", "shape": [2], "data": [[1], [2]]},
            {"name": "c", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}}],
            "outputs": [{"name": "boxes"}, {"name": "labels", "parameters": {"binary_data": false}}]}"#;
        let behind = [&b"\x03\0\0\0jpg"[..], &1.5_f32.to_le_bytes()].concat();
        let body = Bytes::from([&json[..], &behind].concat());
        let (request, binary) = read(&body, Some(json.len())).expect("a request");
        assert_eq!((request.id.as_str(), request.outputs.len()), ("7", 2));
        assert_eq!(request.inputs[0].elements().expect("a file"), [&b"jpg"[..]]);
        assert_eq!(request.inputs[1].data, [1, 2][..]);
        assert_eq!(request.inputs[2].data, 1.5_f32.to_le_bytes()[..]);
        assert!(binary.is("boxes") && !binary.is("labels"));
    }

    #[test]
    fn requests_that_do_not_fit_are_refused_with_the_reason() {
        let refused = |body: &str, header| read(&Bytes::copy_from_slice(body.as_bytes()), header).expect_err(body);
        let input =
            |rest: &str| format!(r#"{{"inputs": [{{"name": "a", "datatype": "UINT8", "shape": [2], {rest}}}]}}"#);
        let cases = [
            (refused("{}", Some(9)), "Inference-Header-Content-Length is 9"),
            (refused("{", None), "no JSON of the protocol"),
            (refused(&input(r#""data": [1, 300]"#), None), "300 is no element, for UINT8"),
            (refused(&input(r#""parameters": {"binary_data_size": 5}"#), None), "not all there"),
            (refused("{}123", Some(2)), "3 bytes behind the inputs"),
            (refused(r#"{"inputs": [{"name": "a", "datatype": "FP16", "shape": [1]}]}"#, None), "takes FP16"),
        ];
        for (refusal, reason) in cases {
            assert!(refusal.message().contains(reason), "{refusal:?}");
        }
    }

    #[test]
    fn files_in_json_are_base64_or_text() {
        let of = |text: &str| file(&serde_json::from_str(text).expect("JSON"));
        assert_eq!(of(r#""/9j/""#), Some(vec![0xff, 0xd8, 0xff]));
        assert_eq!(of(r#"{"b64": "/9j/"}"#), Some(vec![0xff, 0xd8, 0xff]));
        assert_eq!(of(r#""hello world""#), Some(b"hello world".to_vec()));
        assert_eq!(of(r#"{"b64": "?"}"#), None);
        assert_eq!(of("7"), None);
    }

    #[test]
    fn an_answer_is_json_with_bytes_behind_it_where_they_are_wanted() {
        let outputs = vec![Tensor::floats("scores", vec![2], [0.5, 0.25]), Tensor::texts("labels", ["dog", "cat"])];
        let answer = InferAnswer { model: "m".to_owned(), version: "1".to_owned(), id: String::new(), outputs };
        let (body, header) = write(&answer, &Binary::default()).expect("an answer");
        let json: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(
            (header, &json["outputs"][0]["data"], &json["outputs"][1]["data"]),
            (None, &json!([0.5, 0.25]), &json!(["dog", "cat"]))
        );
        let binary = Binary { all: false, named: BTreeMap::from([("scores".to_owned(), true)]) };
        let (body, header) = write(&answer, &binary).expect("an answer");
        let (json, behind) = body.split_at(header.expect("bytes"));
        let json: Value = serde_json::from_slice(json).expect("JSON");
        assert_eq!(json["outputs"][0]["parameters"]["binary_data_size"], 8);
        assert_eq!(behind, [0.5_f32.to_le_bytes(), 0.25_f32.to_le_bytes()].concat());
    }
}
