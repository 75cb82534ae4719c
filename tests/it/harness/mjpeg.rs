//! A camera that speaks HTTP alone and sends JPEG pictures without end.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Scratch;
use super::process::run;

/// From one picture to the next, as in the clips of the test data.
const INTERVAL: Duration = Duration::from_millis(100);

/// A running camera, which ends when it is dropped.
#[derive(Debug)]
pub struct MjpegCamera {
    address: SocketAddr,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl MjpegCamera {
    /// Shows the pictures of `clip` again and again to every viewer.
    pub fn start(scratch: &Scratch, clip: &Path) -> Self {
        let folder = scratch.path("pictures");
        std::fs::create_dir_all(&folder).expect("make the folder of pictures");
        run(Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(clip).arg(folder.join("%04d.jpg")));
        let mut files: Vec<_> = std::fs::read_dir(&folder).expect("list").flatten().map(|entry| entry.path()).collect();
        files.sort();
        let pictures: Arc<[_]> = files.iter().map(|file| std::fs::read(file).expect("read a picture")).collect();
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("an address");
        let ends = Arc::new(AtomicBool::new(false));
        let ended = ends.clone();
        let serve = move || {
            thread::scope(|scope| {
                while let Ok((viewer, _)) = listener.accept() {
                    if ended.load(Ordering::Relaxed) {
                        break;
                    }
                    scope.spawn(|| show(viewer, &pictures, &ended));
                }
            });
        };
        let thread = thread::Builder::new().name("mjpeg camera".to_owned()).spawn(serve).expect("spawn a thread");
        Self { address, ends, thread: Some(thread) }
    }

    /// Where it is found.
    pub fn url(&self) -> String {
        format!("http://{}/video.mjpg", self.address)
    }
}

impl Drop for MjpegCamera {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for viewers.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn show(mut viewer: TcpStream, pictures: &[Vec<u8>], ended: &AtomicBool) {
    // The request is of no interest.
    let _ = viewer.read(&mut [0; 4096]);
    let head = "HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=picture\r\n\r\n";
    let mut alive = viewer.write_all(head.as_bytes()).is_ok();
    for picture in pictures.iter().cycle() {
        if !alive || ended.load(Ordering::Relaxed) {
            break;
        }
        let head = format!("--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", picture.len());
        alive = viewer.write_all(&[head.as_bytes(), picture, b"\r\n"].concat()).is_ok();
        thread::sleep(INTERVAL);
    }
}
