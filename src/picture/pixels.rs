//! The pixels of a picture, for who computes with them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::open::Opened;
use super::request::Request;
use super::{Inspector, PictureError, inspector, thumbnail};
use crate::frame::{MOST_PIXELS, Rgb};

/// Name of the file with the pixels: three bytes each, R, G, B, row after row.
pub const PIXELS: &str = "pixels.rgb";

/// Writes the pixels of a picture into `folder`, upright, sRGB; one with more than [`MOST_PIXELS`] is scaled down.
pub(super) fn write(opened: Opened, folder: &Path) -> Result<(u32, u32), String> {
    let picture = thumbnail::bounded(opened, MOST_PIXELS)?;
    let size = picture.dimensions();
    inspector::with_room(3 * MOST_PIXELS, || {
        fs::write(folder.join(PIXELS), picture.as_raw()).map_err(|error| error.to_string())
    })?;
    Ok(size)
}

impl Inspector {
    /// The pixels of the picture in the file at `path`, upright, sRGB, at most [`MOST_PIXELS`]; of a video those of the
    /// picture that stands for it. `folder` is where they are put on their way.
    ///
    /// # Errors
    /// Why it cannot be decoded.
    pub async fn decode(&self, path: &Path, name: &str, folder: &Path) -> Result<Rgb, PictureError> {
        let (path, name, folder) = (path.to_owned(), name.to_owned(), folder.to_owned());
        let request = Request { path, name, folder: Some(folder.clone()), stripped: false, pixels: true };
        let looked = self.inspect(request).await?;
        let Some((width, height)) = looked.pixels else {
            let reason = looked.facts.unreadable.unwrap_or_else(|| "it has no pixels".to_owned());
            return Err(PictureError::Unreadable(reason));
        };
        let read = tokio::task::spawn_blocking(move || take(&folder.join(PIXELS), width, height)).await;
        read.map_err(io::Error::other).and_then(|read| read).map_err(|error| PictureError::Disk(error.to_string()))
    }
}

/// Reads the pixels, and removes their file.
fn take(path: &Path, width: u32, height: u32) -> io::Result<Rgb> {
    let bytes = 3 * u64::from(width) * u64::from(height);
    let mut data = Vec::new();
    File::open(path)?.take(bytes + 1).read_to_end(&mut data)?;
    fs::remove_file(path)?;
    if data.len() as u64 != bytes {
        return Err(io::Error::other(format!("{} bytes are not {width}x{height} pixels", data.len())));
    }
    Ok(Rgb { width, height, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str, picture: &image::DynamicImage) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        picture.save(&path).expect("write");
        (folder, path)
    }

    #[tokio::test]
    async fn pictures_of_other_kinds_come_as_plain_pixels() {
        for name in ["a.webp", "a.gif", "a.tiff", "a.png"] {
            let (folder, path) = written(name, &image::DynamicImage::new_rgb8(7, 5));
            let decoded = Inspector::here().decode(&path, name, folder.path()).await.expect(name);
            assert_eq!((decoded.width, decoded.height, decoded.data), (7, 5, vec![0; 105]), "{name}");
            assert!(!folder.path().join(PIXELS).exists());
        }
    }

    #[tokio::test]
    async fn a_damaged_one_is_refused_with_the_reason() {
        let (folder, path) = written("a.webp", &image::DynamicImage::new_rgb8(64, 64));
        let whole = fs::read(&path).expect("read");
        fs::write(&path, &whole[..whole.len() / 2]).expect("write");
        let refused = Inspector::here().decode(&path, "a.webp", folder.path()).await.expect_err("damaged");
        assert!(matches!(&refused, PictureError::Unreadable(reason) if reason.contains("damaged")), "{refused}");
        let text = folder.path().join("a.txt");
        fs::write(&text, "no picture").expect("write");
        let refused = Inspector::here().decode(&text, "a.txt", folder.path()).await.expect_err("text");
        assert_eq!(refused, PictureError::NotAPicture);
    }

    #[tokio::test]
    async fn a_very_large_one_is_scaled_down() {
        let (folder, path) = written("a.png", &image::DynamicImage::new_luma8(6000, 4000));
        let decoded = Inspector::here().decode(&path, "a.png", folder.path()).await.expect("decoded");
        assert!(u64::from(decoded.width) * u64::from(decoded.height) <= MOST_PIXELS && decoded.width > 5000);
    }
}
