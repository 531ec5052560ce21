//! What tonic's handlers use.

use ::tonic::{Code, Request, Status};
use kube_oidc::{Claims, Verified};

use crate::{
    context::{self, Passed},
    response::{
        Rejection,
        grpc::{PUSHBACK, milliseconds},
    },
};

/// The workload that made a call, in a tonic handler behind an
/// [`OidcAuthLayer`](crate::OidcAuthLayer).
///
/// ```
/// use tonic::{Request, Response, Status};
/// use tower_kube_oidc::CallerExt;
///
/// async fn get_order(request: Request<()>) -> Result<Response<String>, Status> {
///     let who = request.caller()?;
///     Ok(Response::new(format!("hello {}/{}", who.namespace(), who.service_account().name())))
/// }
/// ```
pub trait CallerExt {
    /// Who makes the call.
    ///
    /// # Errors
    ///
    /// `UNAUTHENTICATED` where the layer let the call pass without a caller. Without the layer
    /// nobody looked at the call: that is `INTERNAL`, and the log says so.
    fn caller(&self) -> Result<&Verified, Status> {
        self.caller_with()
    }

    /// Who makes the call, or `None` where the layer let it pass without a caller.
    ///
    /// # Errors
    ///
    /// `INTERNAL` without the layer.
    fn optional_caller(&self) -> Result<Option<&Verified>, Status> {
        self.optional_caller_with()
    }

    /// [`caller`](Self::caller), for claims of your own.
    ///
    /// # Errors
    ///
    /// As for [`caller`](Self::caller).
    fn caller_with<C: Claims>(&self) -> Result<&Verified<C>, Status>;

    /// [`optional_caller`](Self::optional_caller), for claims of your own.
    ///
    /// # Errors
    ///
    /// As for [`optional_caller`](Self::optional_caller).
    fn optional_caller_with<C: Claims>(&self) -> Result<Option<&Verified<C>>, Status>;
}

impl<T> CallerExt for Request<T> {
    fn caller_with<C: Claims>(&self) -> Result<&Verified<C>, Status> {
        self.optional_caller_with()?
            .ok_or_else(|| status(&context::why_no_caller(self.extensions().get::<Passed<C>>())))
    }

    fn optional_caller_with<C: Claims>(&self) -> Result<Option<&Verified<C>>, Status> {
        context::caller(self.extensions()).map_err(|nobody| status(&nobody))
    }
}

fn status(rejection: &Rejection) -> Status {
    rejection.log(true);
    rejection.into()
}

/// What the caller of a gRPC method is told.
impl From<&Rejection> for Status {
    fn from(rejection: &Rejection) -> Self {
        let mut status = Self::new(Code::from_i32(rejection.grpc_code().into()), rejection.told());
        if let Some(retry_after) = rejection.retry_after() {
            status.metadata_mut().insert(PUSHBACK, milliseconds(retry_after).into());
        }
        status
    }
}
