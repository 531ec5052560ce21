//! [`Verifier`]: token in, claims out.

mod builder;

use std::{
    fmt,
    marker::PhantomData,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

pub use self::builder::VerifierBuilder;
use crate::{
    algorithm::Algorithm,
    claims::{Claims, Payload, ServiceAccountClaims},
    clock::Clock,
    error::{BuildError, KeysUnavailable, Refusal, VerifyError},
    incident::Incidents,
    issuer::{Issuer, Names},
    jws::{Compact, Header},
    key_cache::{KeyCache, Missing, Settings},
    key_set::{Fitting, KeySet, NoKey},
    keys::Keys,
    status::{IssuerStatus, KeyState},
    validation::Validation,
    verified::Verified,
};

/// Checks tokens, with the public keys of their issuers.
///
/// Cloning it makes another handle to the same keys. It can live in a `static`, be shared by many
/// layers, and be used from several tokio runtimes; it fetches nothing before its first use, and
/// stops refreshing when the last handle is dropped. Fetching needs a tokio runtime with time and
/// I/O enabled, as `#[tokio::main]` makes it; tokens whose keys are known can be checked anywhere.
///
/// ```
/// use kube_oidc::{IssuerUrl, Verifier};
///
/// # async fn f(token: &str) -> Result<(), Box<dyn std::error::Error>> {
/// let issuer: IssuerUrl = "https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE".parse()?;
/// let verifier = Verifier::builder(issuer).audience("orders").build()?;
///
/// let caller = verifier.verify(token).await?;
/// println!("{}/{}", caller.namespace(), caller.service_account().name());
/// # Ok(())
/// # }
/// ```
///
/// With claims of your own, for issuers that are no clusters:
///
/// ```
/// use kube_oidc::{Issuer, Verifier};
///
/// #[derive(serde::Deserialize)]
/// struct WorkerClaims {
///     client_id: String,
/// }
///
/// # async fn f(token: &str) -> Result<(), Box<dyn std::error::Error>> {
/// let issuer = Issuer::new("https://auth.pingone.eu/11111111/as".parse()?);
/// let verifier = Verifier::builder(issuer).claims::<WorkerClaims>().audience("orders").build()?;
///
/// let caller = verifier.verify(token).await?;
/// println!("{} until {:?}", caller.client_id, caller.registered().expires_at());
/// # Ok(())
/// # }
/// ```
pub struct Verifier<C: Claims = ServiceAccountClaims> {
    inner: Arc<Inner>,
    claims: PhantomData<fn() -> C>,
}

struct Inner {
    issuers: ArcSwap<Vec<Arc<TrustedIssuer>>>,
    /// Held while the list of issuers is changed.
    changing: Mutex<()>,
    settings: Settings,
    allowed: Arc<[Algorithm]>,
    validation: Validation,
    incidents: Incidents,
    clock: Arc<dyn Clock>,
}

struct TrustedIssuer {
    names: Names,
    /// As the operator calls it.
    cluster: Option<Arc<str>>,
    keys: Keys,
    last_seen: LastSeen,
}

impl Verifier<ServiceAccountClaims> {
    /// Begins a verifier of Kubernetes `ServiceAccount` tokens of one cluster, by its
    /// [`IssuerUrl`](crate::IssuerUrl) or an [`Issuer`].
    ///
    /// An audience has to be given. Every name that the issuer signs is taken for one of the
    /// cluster's service accounts, so trust only a cluster with it.
    pub fn builder(issuer: impl Into<Issuer>) -> VerifierBuilder {
        VerifierBuilder::new(issuer.into())
    }
}

impl<C: Claims> Verifier<C> {
    /// Checks a token, and waits for keys if it has to: at most as long as a fetch may take.
    ///
    /// # Errors
    ///
    /// [`VerifyError::Refused`] for a bad token, [`VerifyError::Unavailable`] for one that needs
    /// keys which are not here.
    ///
    /// # Panics
    ///
    /// Where it has to wait in a tokio runtime that was built without time (`enable_time`), as
    /// every timer of tokio does. Outside a runtime it does not panic.
    pub async fn verify(&self, token: &str) -> Result<Verified<C>, VerifyError> {
        let mut opened = Opened::default();
        let issuers = self.inner.issuers.load_full();
        let unverified = self.open(token, &issuers, &mut opened)?;
        if let Poll::Ready(result) = self.judge_now(&unverified) {
            return result;
        }
        let found = |keys: &KeySet| !matches!(unverified.find(keys), Err(NoKey::UnknownKid));
        let judged = unverified.issuer.keys.wait_for(found, |keys| match unverified.find(keys) {
            Ok(fitting) => self.judge(&unverified, fitting),
            Err(no_key) => Err(refused_for(no_key).into()),
        });
        let judged = judged.await;
        // it may have been removed while the token waited for its keys
        let issuers = self.inner.issuers.load();
        if !issuers.iter().any(|issuer| Arc::ptr_eq(issuer, unverified.issuer)) {
            return Err(Refusal::UnknownIssuer.into());
        }
        match judged {
            Ok(result) => result,
            Err(Missing::UnknownKey) => Err(Refusal::UnknownKey.into()),
            Err(Missing::Unavailable(unavailable)) => Err(unavailable.into()),
        }
    }

    /// Checks a token with the keys that are here, and never waits.
    ///
    /// [`Poll::Pending`] means that the verdict needs keys that are not here: ask
    /// [`verify`](Self::verify). Nothing is fetched by this call, but a set that is overdue is
    /// refreshed in the background.
    #[must_use = "a token counts only if the verdict is looked at"]
    pub fn verify_now(&self, token: &str) -> Poll<Result<Verified<C>, VerifyError>> {
        let mut opened = Opened::default();
        match self.open(token, &self.inner.issuers.load(), &mut opened) {
            Ok(unverified) => self.judge_now(&unverified),
            Err(refusal) => Poll::Ready(Err(refusal.into())),
        }
    }

    /// The audiences of which a token must have one.
    pub fn audiences(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.inner.validation.audiences.iter().map(String::as_str)
    }

    /// How the keys of each issuer are, in the order in which the issuers were given.
    #[must_use]
    pub fn status(&self) -> Vec<IssuerStatus> {
        self.inner.issuers.load().iter().map(|issuer| issuer.status()).collect()
    }

    /// Whether the keys of at least one issuer are here, fresh or stale: for a readiness probe.
    ///
    /// It fetches nothing. A service that gets no requests before it is ready calls
    /// [`warm_up`](Self::warm_up) when it starts.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let issuers = self.inner.issuers.load();
        issuers.iter().any(|issuer| issuer.keys.with_current(|keys| keys.is_some()))
    }

    /// Begins to fetch the keys of every issuer, and does not wait for them. It is never needed;
    /// the first request then finds them here. Outside a tokio runtime it does nothing.
    pub fn warm_up(&self) {
        if let Ok(runtime) = Handle::try_current() {
            for cache in self.caches() {
                runtime.spawn(async move { cache.wait_for(|_| true).await.map(|_| ()) });
            }
        }
    }

    /// Waits until the keys of at least one issuer are here, however long that takes: for a gate
    /// at start, which is never needed.
    pub async fn ready(&self) {
        if self.is_ready() {
            return;
        }
        let caches = self.caches();
        let mut waits: Vec<_> = caches.iter().map(|cache| Box::pin(cache.ready())).collect();
        std::future::poll_fn(|context| {
            let ready = waits.iter_mut().any(|wait| wait.as_mut().poll(context).is_ready());
            if ready { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Fetches the keys of every issuer now, and waits for them: a key that an issuer took back
    /// is refused from then on. Cooldown and back-off do not count; an issuer that asked to be
    /// left alone for a while (`Retry-After`) is.
    ///
    /// # Errors
    ///
    /// The keys of an issuer could not be fetched. Those of the others were, and the last good
    /// ones of this one stay in use.
    pub async fn refresh_now(&self) -> Result<(), KeysUnavailable> {
        let mut result = Ok(());
        for cache in self.caches() {
            result = result.and(cache.refresh().await);
        }
        result
    }

    /// Refuses every token that a key of an issuer signed, from now on and for as long as this
    /// verifier lives, whatever its issuer says: for a key that leaked. The issuer may be one that
    /// is added or whose name is learnt later. A key without a `kid` cannot be named.
    pub fn distrust_key(&self, issuer: &str, kid: &str) {
        let issuers = self.inner.issuers.load();
        let known = issuers.iter().find(|known| known.names.answer_to(issuer));
        // the label stays when a learnt name changes; the name may be learnt later
        let label = known.map(|known| &**known.names.label());
        let names: Vec<&str> = label.into_iter().chain([issuer]).collect();
        self.inner.incidents.distrust_key(&names, kid);
    }

    /// Trusts one more issuer from now on: see [`VerifierBuilder::issuer`]. Its keys are fetched
    /// when they are needed, and whether they are here does not touch the others.
    ///
    /// # Errors
    ///
    /// Its settings cannot work, it is there already, or the names of clusters are missing.
    pub fn add_issuer(&self, issuer: impl Into<Issuer>) -> Result<(), BuildError> {
        let inner = &*self.inner;
        let _changing = inner.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut issuers = Vec::clone(&inner.issuers.load());
        issuers.push(Arc::new(TrustedIssuer::new(&issuer.into(), inner)?));
        inner.issuers.store(together(issuers)?);
        Ok(())
    }

    /// Trusts an issuer no more: its tokens are refused from now on, and its keys are forgotten.
    /// `false`: it was not there.
    #[must_use = "it says whether the issuer was there"]
    pub fn remove_issuer(&self, name: &str) -> bool {
        let inner = &*self.inner;
        let _changing = inner.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let issuers = inner.issuers.load();
        let others: Vec<_> =
            issuers.iter().filter(|issuer| !issuer.names.answer_to(name)).cloned().collect();
        let found = others.len() < issuers.len();
        inner.issuers.store(Arc::new(others));
        found
    }

    /// Takes another name for the issuer of [`Issuer::in_cluster`], after the API server began to
    /// issue tokens by it. Tokens of the old name are refused from then on, unless the issuer is
    /// [`also_named`](Issuer::also_named) so. `false`: there is no such issuer in this verifier.
    #[must_use = "it says whether there is such an issuer"]
    pub fn accept_issuer(&self, name: &str) -> bool {
        self.inner.issuers.load().iter().any(|issuer| issuer.names.accept(name))
    }

    /// Refuses the token of this `jti`, from now on and for as long as this verifier lives: for a
    /// token that leaked.
    pub fn deny_jti(&self, jti: &str) {
        self.inner.incidents.deny_jti(jti);
    }

    fn caches(&self) -> Vec<KeyCache> {
        let issuers = self.inner.issuers.load();
        issuers.iter().filter_map(|issuer| issuer.keys.cache().cloned()).collect()
    }

    /// Takes a token apart, and does every check that needs no key.
    fn open<'a>(
        &self,
        token: &'a str,
        issuers: &'a [Arc<TrustedIssuer>],
        opened: &'a mut Opened,
    ) -> Result<Unverified<'a>, Refusal> {
        let inner = &*self.inner;
        let compact = Compact::parse(token)?;
        opened.header = compact.decode_header()?;
        let header = Header::parse(&opened.header, &inner.allowed)?;
        inner.validation.check_type(&header)?;
        opened.payload = compact.decode_payload()?;
        let payload = Payload::parse(&opened.payload, C::KUBERNETES)?;
        let issuer = issuers
            .iter()
            .find(|issuer| issuer.names.contain(&payload.iss))
            .or_else(|| issuers.iter().find(|issuer| issuer.names.may_be_any()))
            .ok_or(Refusal::UnknownIssuer)?;
        let signature = compact.decode_signature()?;
        let signing_input = compact.signing_input;
        Ok(Unverified { signing_input, signature, header, payload, text: &opened.payload, issuer })
    }

    /// Judges with the keys that are here. A token that could not pass is refused rather than
    /// sent to wait for keys.
    fn judge_now(&self, unverified: &Unverified<'_>) -> Poll<Result<Verified<C>, VerifyError>> {
        unverified.issuer.keys.with_current(|keys| {
            let found = keys.map_or(Err(NoKey::UnknownKid), |keys| unverified.find(keys));
            match found {
                Ok(fitting) => Poll::Ready(self.judge(unverified, fitting)),
                Err(NoKey::UnknownKid) if unverified.issuer.keys.may_change() => {
                    let inner = &*self.inner;
                    match inner.validation.check_hope(&unverified.payload, inner.clock.wall()) {
                        Ok(()) => Poll::Pending,
                        Err(refusal) => Poll::Ready(Err(refusal.into())),
                    }
                }
                Err(no_key) => Poll::Ready(Err(refused_for(no_key).into())),
            }
        })
    }

    /// The checks that need a key: signature first, then what was signed.
    fn judge(
        &self,
        unverified: &Unverified<'_>,
        fitting: Fitting<'_>,
    ) -> Result<Verified<C>, VerifyError> {
        // the name of a pod's own cluster may have been learnt since
        if !unverified.issuer.names.contain(&unverified.payload.iss) {
            return Err(Refusal::UnknownIssuer.into());
        }
        if self.inner.incidents.is_distrusted(&unverified.issuer.names, fitting.kid()) {
            return Err(Refusal::DistrustedKey.into());
        }
        if !fitting.verify(unverified.signing_input.as_bytes(), &unverified.signature) {
            return Err(Refusal::Signature.into());
        }
        let inner = &*self.inner;
        let now = inner.clock.wall();
        inner.validation.check(&unverified.payload, now)?;
        if inner.incidents.is_denied(unverified.payload.jti.as_deref()) {
            return Err(Refusal::DeniedJti.into());
        }
        let kept = C::keep(&unverified.payload, unverified.text)?;
        unverified.issuer.last_seen.note(now);
        Ok(Verified::new(kept, unverified.issuer.cluster.clone()))
    }
}

/// Checks that issuers may stand beside each other: each has a name of its own, and where there
/// are several, that of its cluster.
fn together(issuers: Vec<Arc<TrustedIssuer>>) -> Result<Arc<Vec<Arc<TrustedIssuer>>>, BuildError> {
    for (index, issuer) in issuers.iter().enumerate() {
        let label = issuer.names.label();
        if issuers[..index].iter().any(|other| other.names.contain(label)) {
            return Err(BuildError::DuplicateIssuer(label.to_string()));
        }
        if issuer.cluster.is_none() && issuers.len() > 1 {
            return Err(BuildError::ClusterName(label.to_string()));
        }
    }
    Ok(Arc::new(issuers))
}

impl TrustedIssuer {
    fn new(issuer: &Issuer, inner: &Inner) -> Result<Self, BuildError> {
        let (names, cluster) = (issuer.names(), issuer.cluster().cloned());
        if cluster.as_ref().is_some_and(|cluster| cluster.trim().is_empty()) {
            return Err(BuildError::ClusterName(names.label().to_string()));
        }
        let keys = issuer.keys(&inner.allowed, &inner.settings, &inner.clock)?;
        Ok(Self { names, cluster, keys, last_seen: LastSeen::default() })
    }

    fn status(&self) -> IssuerStatus {
        let mut status = IssuerStatus {
            issuer: self.names.shown(),
            cluster: self.cluster.as_deref().map(str::to_owned),
            state: KeyState::Empty,
            keys: Vec::new(),
            last_success: None,
            last_error: None,
            next_fetch: None,
            fetches: 0,
            failures: 0,
            last_seen: self.last_seen.time(),
        };
        self.keys.describe(&mut status);
        status
    }
}

/// When a token was accepted for the last time, in seconds since the epoch; 0 for never.
#[derive(Default)]
struct LastSeen(AtomicU64);

impl LastSeen {
    fn note(&self, now: SystemTime) {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        // threads share this line of memory, so it is written once in a second only
        if self.0.load(Ordering::Relaxed) != now {
            self.0.store(now, Ordering::Relaxed);
        }
    }

    fn time(&self) -> Option<SystemTime> {
        let seconds = self.0.load(Ordering::Relaxed);
        (seconds > 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }
}

fn refused_for(no_key: NoKey) -> Refusal {
    match no_key {
        NoKey::OtherAlgorithm => Refusal::KeyNotForAlgorithm,
        NoKey::UnknownKid | NoKey::Ambiguous => Refusal::UnknownKey,
    }
}

/// The decoded parts of a token, which the rest borrows from.
#[derive(Default)]
struct Opened {
    header: String,
    payload: String,
}

/// A token that was taken apart, of which nothing is believed.
struct Unverified<'a> {
    signing_input: &'a str,
    signature: Vec<u8>,
    header: Header<'a>,
    payload: Payload<'a>,
    /// The payload as text.
    text: &'a str,
    /// The issuer that the token names.
    issuer: &'a Arc<TrustedIssuer>,
}

impl Unverified<'_> {
    fn find<'k>(&self, keys: &'k KeySet) -> Result<Fitting<'k>, NoKey> {
        keys.find(self.header.kid.as_deref(), self.header.algorithm)
    }
}

impl<C: Claims> Clone for Verifier<C> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), claims: PhantomData }
    }
}

impl<C: Claims> fmt::Debug for Verifier<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuers = self.inner.issuers.load();
        let issuers: Vec<&str> = issuers.iter().map(|issuer| &**issuer.names.label()).collect();
        f.debug_struct("Verifier")
            .field("issuers", &issuers)
            .field("audiences", &self.inner.validation.audiences)
            .finish_non_exhaustive()
    }
}
