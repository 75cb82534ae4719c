//! What holds for all blocks, and for all pipelines of them.

mod edges;
mod random;

use super::{Image, Item, Value};

/// Whether a picture has as many bytes as its size says, and a value is finite where it is a number.
fn assert_sound(value: &Value, from: &str) {
    match value {
        Value::Image(Image { picture, place, .. }) => {
            let pixels = picture.width as usize * picture.height as usize;
            assert!(pixels > 0 && picture.data.len() == 3 * pixels, "{from}: {}x{}", picture.width, picture.height);
            assert!([place.x, place.y, place.w, place.h].iter().all(|side| side.is_finite()), "{from}: {place:?}");
        }
        Value::Table(table) => {
            assert!(table.rows.iter().all(|row| row.len() == table.columns.len()), "{from}: {table:?}");
        }
        Value::Number(number) => assert!(number.is_finite(), "{from}: {number}"),
        Value::Objects(_) | Value::Regions(_) | Value::Text(_) => {}
    }
}

fn assert_all_sound(item: &Item, from: &str) {
    item.values().into_iter().for_each(|value| assert_sound(value, from));
}
