//! The future of a guarded service: no box unless keys have to be fetched.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::inbound::authenticator::Admission;
use crate::inbound::cause::Cause;
use crate::inbound::denial;
use crate::inbound::rejection::ResponseBody;

type Deciding = Pin<Box<dyn Future<Output = Result<Admission, Cause>> + Send>>;

pin_project! {
    /// Answers with a refusal, or with what the inner service says.
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B, S::Future>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, B, F> {
        Refused { response: Option<Response<Bytes>> },
        Inner { #[pin] future: F },
        Deciding { decision: Deciding, request_and_service: Option<(Request<B>, S)> },
    }
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    pub(super) fn refused(response: Response<Bytes>) -> Self {
        Self { state: State::Refused { response: Some(response) } }
    }

    pub(super) fn inner(future: S::Future) -> Self {
        Self { state: State::Inner { future } }
    }

    pub(super) fn pending(decision: Deciding, request: Request<B>, service: S) -> Self {
        let request_and_service = Some((request, service));
        Self { state: State::Deciding { decision, request_and_service } }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Output = Result<Response<ResponseBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProjection::Inner { future } => {
                    let response = ready!(future.poll(context));
                    return Poll::Ready(response.map(|answer| answer.map(ResponseBody::inner)));
                }
                StateProjection::Refused { response } => match response.take() {
                    Some(refusal) => return Poll::Ready(Ok(refusal.map(ResponseBody::refusal))),
                    // Polled again after it was ready: a bug of the caller's, which must not take the process down.
                    None => return Poll::Pending,
                },
                StateProjection::Deciding { decision, request_and_service } => {
                    let admission = ready!(decision.as_mut().poll(context));
                    let Some((mut request, mut service)) = request_and_service.take() else {
                        return Poll::Pending;
                    };
                    match admission {
                        Ok(admission) => {
                            request.extensions_mut().insert(admission);
                            State::Inner { future: service.call(request) }
                        }
                        Err(cause) => {
                            State::Refused { response: Some(denial::answer(&cause, &request)) }
                        }
                    }
                }
            };
            this.state.set(next);
        }
    }
}
