//! The orders, and who may see which.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};
use tower_kube_oidc::CallerExt as _;

use crate::generated::{
    GetOrderRequest, GetOrderResponse, Order, PlaceOrdersRequest, PlaceOrdersResponse,
    WatchOrdersRequest, WatchOrdersResponse, orders_server::Orders,
};

/// Every order of every namespace, for as long as the server runs.
#[derive(Clone, Debug)]
pub(crate) struct OrderBook(Arc<Mutex<Vec<Order>>>);

impl OrderBook {
    /// A book with something in it to ask for.
    pub(crate) fn new() -> Self {
        let book = Self(Arc::default());
        for (item, namespace) in [("tea", "payments"), ("boxes", "shipping"), ("milk", "payments")]
        {
            book.write_down(item.to_owned(), namespace.to_owned());
        }
        book
    }

    fn write_down(&self, item: String, namespace: String) -> Order {
        let mut orders = self.lock();
        let id = orders.last().map_or(1, |last| last.id + 1);
        let order = Order { id, item, namespace };
        orders.push(order.clone());
        order
    }

    fn of(&self, namespace: &str) -> Vec<Order> {
        self.lock().iter().filter(|order| order.namespace == namespace).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Order>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Orders for OrderBook {
    async fn get_order(
        &self,
        request: Request<GetOrderRequest>,
    ) -> Result<Response<GetOrderResponse>, Status> {
        let who = request.caller()?;
        let id = request.get_ref().id;
        let order = self.of(who.namespace()).into_iter().find(|order| order.id == id);
        // that of another namespace is as good as none
        let order = order.ok_or_else(|| Status::not_found("there is no such order"))?;
        let caller = format!("{}/{}", who.namespace(), who.service_account().name());
        Ok(Response::new(GetOrderResponse { order: Some(order), caller }))
    }

    type WatchOrdersStream = Answers<WatchOrdersResponse>;

    async fn watch_orders(
        &self,
        request: Request<WatchOrdersRequest>,
    ) -> Result<Response<Self::WatchOrdersStream>, Status> {
        let orders = self.of(request.caller()?.namespace());
        let answers = tokio_stream::iter(orders);
        let answers = answers.map(|order| Ok(WatchOrdersResponse { order: Some(order) }));
        Ok(Response::new(Box::pin(answers)))
    }

    type PlaceOrdersStream = Answers<PlaceOrdersResponse>;

    async fn place_orders(
        &self,
        request: Request<Streaming<PlaceOrdersRequest>>,
    ) -> Result<Response<Self::PlaceOrdersStream>, Status> {
        // the stream outlives the request: it takes with it what it needs to know of the caller
        let namespace = request.caller()?.namespace().to_owned();
        let book = self.clone();
        let answers = request.into_inner().map(move |placed| {
            let order = book.write_down(placed?.item, namespace.clone());
            Ok(PlaceOrdersResponse { order: Some(order) })
        });
        Ok(Response::new(Box::pin(answers)))
    }
}
