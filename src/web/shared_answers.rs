//! How links and what lies behind them are answered to people without a login.

use axum::http::{HeaderValue, header};
use axum::response::Response;

use super::problem::{Code, Problem};
use crate::access::ShareRefusal;

/// The answer under a name that says nothing of where it comes from.
pub(super) fn under(name: &str, mut answer: Response) -> Result<Response, Problem> {
    let disposition = HeaderValue::from_str(&format!("inline; filename=\"{name}\"")).map_err(|_| gone())?;
    answer.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
    // It may be withdrawn, so it lies in no cache.
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

/// There is no such link, or it does not hold any more: which of them is not said.
pub(super) fn gone() -> Problem {
    refused(ShareRefusal::Gone)
}

pub(super) fn refused(refusal: ShareRefusal) -> Problem {
    let code = match refusal {
        ShareRefusal::Gone => Code::NotFound,
        ShareRefusal::PasswordNeeded => Code::PasswordNeeded,
        ShareRefusal::WrongPassword => Code::WrongPassword,
        ShareRefusal::Locked(_) => Code::TooManyTries,
        ShareRefusal::Failed(_) => Code::Internal,
    };
    let problem = Problem::new(code, refusal.to_string());
    if let ShareRefusal::Locked(locked) = refusal { problem.after(locked.wait) } else { problem }
}
