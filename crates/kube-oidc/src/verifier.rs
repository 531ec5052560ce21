//! [`Verifier`]: token in, claims out.

use std::{fmt, marker::PhantomData, sync::Arc, task::Poll, time::Duration};

use crate::{
    algorithm::Algorithm,
    claims::{Claims, Payload, ServiceAccountClaims},
    clock::{Clock, SystemClock},
    error::{BuildError, Refusal, VerifyError},
    issuer::Issuer,
    jws::{Compact, Header},
    key_cache::{Missing, Settings},
    key_set::{Fitting, KeySet, NoKey},
    keys::Keys,
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
    issuers: Vec<TrustedIssuer>,
    allowed: Arc<[Algorithm]>,
    validation: Validation,
    clock: Arc<dyn Clock>,
}

struct TrustedIssuer {
    name: Arc<str>,
    keys: Keys,
}

impl Verifier<ServiceAccountClaims> {
    /// Begins a verifier of Kubernetes `ServiceAccount` tokens of one cluster, by its
    /// [`IssuerUrl`](crate::IssuerUrl) or an [`Issuer`].
    ///
    /// An audience has to be given. Every name that the issuer signs is taken for one of the
    /// cluster's service accounts, so trust only a cluster with it.
    pub fn builder(issuer: impl Into<Issuer>) -> VerifierBuilder {
        let plan = Plan {
            issuers: vec![issuer.into()],
            audiences: Vec::new(),
            algorithms: Algorithm::ALL.to_vec(),
            leeway: DEFAULT_LEEWAY,
            leeway_limit: MAX_LEEWAY,
            token_type: None,
            settings: Settings::default(),
            clock: Arc::new(SystemClock),
        };
        VerifierBuilder { plan, claims: PhantomData }
    }
}

/// Audiences that API servers accept for themselves, beside their issuer's own name: the first is
/// EKS's, the second what kubeadm, k3s and kind have.
pub const API_SERVER_AUDIENCES: [&str; 2] =
    ["https://kubernetes.default.svc", "https://kubernetes.default.svc.cluster.local"];

/// The API server's own, from go-jose.
const DEFAULT_LEEWAY: Duration = Duration::from_secs(60);
/// A longer leeway needs a method that says `dangerous`.
const MAX_LEEWAY: Duration = Duration::from_secs(300);

impl<C: Claims> Verifier<C> {
    /// Checks a token, and waits for keys if it has to: at most as long as a fetch may take.
    ///
    /// # Errors
    ///
    /// [`VerifyError::Refused`] for a bad token, [`VerifyError::Unavailable`] for one that needs
    /// keys which are not here.
    pub async fn verify(&self, token: &str) -> Result<Verified<C>, VerifyError> {
        let mut opened = Opened::default();
        let unverified = self.open(token, &mut opened)?;
        if let Poll::Ready(result) = self.judge_now(&unverified) {
            return result;
        }
        let found = |keys: &KeySet| !matches!(unverified.find(keys), Err(NoKey::UnknownKid));
        let judged = unverified.issuer.keys.wait_for(found, |keys| match unverified.find(keys) {
            Ok(fitting) => self.judge(&unverified, fitting),
            Err(no_key) => Err(refused_for(no_key).into()),
        });
        match judged.await {
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
        match self.open(token, &mut opened) {
            Ok(unverified) => self.judge_now(&unverified),
            Err(refusal) => Poll::Ready(Err(refusal.into())),
        }
    }

    /// The audiences of which a token must have one.
    pub fn audiences(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.inner.validation.audiences.iter().map(String::as_str)
    }

    /// Takes a token apart, and does every check that needs no key.
    fn open<'a>(
        &'a self,
        token: &'a str,
        opened: &'a mut Opened,
    ) -> Result<Unverified<'a>, Refusal> {
        let inner = &*self.inner;
        let compact = Compact::parse(token)?;
        opened.header = compact.decode_header()?;
        let header = Header::parse(&opened.header, &inner.allowed)?;
        inner.validation.check_type(&header)?;
        opened.payload = compact.decode_payload()?;
        let payload = Payload::parse(&opened.payload, C::KUBERNETES)?;
        let issuer = inner
            .issuers
            .iter()
            .find(|issuer| *issuer.name == *payload.iss)
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
        if !fitting.verify(unverified.signing_input.as_bytes(), &unverified.signature) {
            return Err(Refusal::Signature.into());
        }
        let inner = &*self.inner;
        inner.validation.check(&unverified.payload, inner.clock.wall())?;
        Ok(Verified::new(C::keep(&unverified.payload, unverified.text)?))
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
    issuer: &'a TrustedIssuer,
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
        let issuers: Vec<&str> = self.inner.issuers.iter().map(|issuer| &*issuer.name).collect();
        f.debug_struct("Verifier")
            .field("issuers", &issuers)
            .field("audiences", &self.inner.validation.audiences)
            .finish_non_exhaustive()
    }
}

/// Makes a [`Verifier`].
#[must_use]
pub struct VerifierBuilder<C: Claims = ServiceAccountClaims> {
    plan: Plan,
    claims: PhantomData<fn() -> C>,
}

/// What was asked for, not checked yet.
#[derive(Clone)]
struct Plan {
    issuers: Vec<Issuer>,
    audiences: Vec<String>,
    algorithms: Vec<Algorithm>,
    leeway: Duration,
    leeway_limit: Duration,
    token_type: Option<String>,
    settings: Settings,
    clock: Arc<dyn Clock>,
}

impl<C: Claims> VerifierBuilder<C> {
    /// Accepts tokens for this audience, beside others that were given.
    ///
    /// Choose a name of the service's own. Whoever receives a token can use it wherever its
    /// audience is accepted.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.plan.audiences.push(audience.into());
        self
    }

    /// Accepts tokens for each of these audiences, beside others that were given.
    pub fn audiences(mut self, audiences: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.plan.audiences.extend(audiences.into_iter().map(Into::into));
        self
    }

    /// Accepts tokens that were made for the API server: of the issuer's own name, which is the
    /// default audience of a `TokenRequest`, and of [`API_SERVER_AUDIENCES`].
    ///
    /// Such a token is a pod's key to the API server. Whoever receives it can use it there, and
    /// at every other service that accepts it.
    pub fn dangerous_api_server_audiences(self) -> Self {
        let issuers: Vec<String> =
            self.plan.issuers.iter().map(|issuer| issuer.name().to_owned()).collect();
        self.audiences(issuers).audiences(API_SERVER_AUDIENCES)
    }

    /// Trusts one more issuer, with the same expectations. Its tokens are checked with its own
    /// keys only.
    pub fn issuer(mut self, issuer: impl Into<Issuer>) -> Self {
        self.plan.issuers.push(issuer.into());
        self
    }

    /// Reads claims of another type: see [`Verifier`].
    pub fn claims<D: Claims>(self) -> VerifierBuilder<D> {
        VerifierBuilder { plan: self.plan, claims: PhantomData }
    }

    /// Allows these signature algorithms only. By default all of [`Algorithm`] are, each where
    /// the key permits it.
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.plan.algorithms = algorithms.into_iter().collect();
        self
    }

    /// How far the clocks of issuer and verifier may differ: 60 s unless set, at most 5 min.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.plan.leeway = leeway;
        self.plan.leeway_limit = MAX_LEEWAY;
        self
    }

    /// A leeway without a limit: an expired token is accepted for as long.
    pub fn dangerous_leeway(mut self, leeway: Duration) -> Self {
        self.plan.leeway = leeway;
        self.plan.leeway_limit = Duration::MAX;
        self
    }

    /// Demands this `typ`, such as `at+jwt` ([RFC 9068]). Without it `typ` may be absent or
    /// `JWT`, as Kubernetes has it, and every other type is refused.
    ///
    /// [RFC 9068]: https://www.rfc-editor.org/rfc/rfc9068#section-2.1
    pub fn token_type(mut self, typ: impl Into<String>) -> Self {
        self.plan.token_type = Some(typ.into());
        self
    }

    /// How long a `kid` that nobody knows starts no further fetch: 30 s unless set.
    ///
    /// Within that time a token by a key that was published since is refused with 401, so an
    /// attacker who sends junk can delay a new key by as much, and a known key never.
    pub fn unknown_kid_cooldown(mut self, cooldown: Duration) -> Self {
        self.plan.settings.unknown_kid_cooldown = cooldown;
        self
    }

    /// How long a fetch of discovery document and key set together may take, and how long a
    /// request waits for it: 5 s unless set.
    pub fn fetch_timeout(mut self, timeout: Duration) -> Self {
        self.plan.settings.fetch_timeout = timeout;
        self
    }

    /// The shortest lifetime of a key set, whatever its issuer says: 60 s unless set.
    pub fn min_refresh(mut self, lifetime: Duration) -> Self {
        self.plan.settings.freshness.min = lifetime;
        self
    }

    /// The longest lifetime of a key set, whatever its issuer says: 1 h unless set. A key that
    /// was taken out of the set is refused at the latest after this time.
    pub fn max_refresh(mut self, lifetime: Duration) -> Self {
        self.plan.settings.freshness.max = lifetime;
        self
    }

    /// How long past its lifetime a key set is used while its issuer does not answer: 24 h unless
    /// set, as long as AKS keeps an old key.
    pub fn max_stale(mut self, max_stale: Duration) -> Self {
        self.plan.settings.max_stale = max_stale;
        self
    }

    /// Reads the time from another clock: for tests.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.plan.clock = Arc::new(clock);
        self
    }

    /// Checks the settings and makes the verifier. Nothing is fetched.
    ///
    /// # Errors
    ///
    /// No audience, or a setting that cannot work: see [`BuildError`].
    pub fn build(self) -> Result<Verifier<C>, BuildError> {
        Ok(Verifier { inner: Arc::new(self.plan.build()?), claims: PhantomData })
    }
}

impl Plan {
    fn build(self) -> Result<Inner, BuildError> {
        if self.audiences.is_empty() {
            return Err(BuildError::NoAudience);
        }
        if self.audiences.iter().any(|audience| audience.trim().is_empty()) {
            return Err(BuildError::EmptyAudience);
        }
        if self.algorithms.is_empty() {
            return Err(BuildError::NoAlgorithm);
        }
        if self.leeway > self.leeway_limit {
            return Err(BuildError::Duration {
                name: "leeway",
                range: "at most 5 min; dangerous_leeway has no limit",
            });
        }
        self.settings.check()?;
        let allowed: Arc<[Algorithm]> = self.algorithms.into();
        let mut issuers: Vec<TrustedIssuer> = Vec::with_capacity(self.issuers.len());
        for issuer in &self.issuers {
            let name: Arc<str> = issuer.name().into();
            if issuers.iter().any(|known| known.name == name) {
                return Err(BuildError::DuplicateIssuer(name.to_string()));
            }
            let keys = issuer.keys(&allowed, &self.settings, &self.clock)?;
            issuers.push(TrustedIssuer { name, keys });
        }
        let validation = Validation {
            audiences: self.audiences.into(),
            leeway: self.leeway,
            token_type: self.token_type,
        };
        Ok(Inner { issuers, allowed, validation, clock: self.clock })
    }
}

impl<C: Claims> Clone for VerifierBuilder<C> {
    fn clone(&self) -> Self {
        Self { plan: self.plan.clone(), claims: PhantomData }
    }
}

impl<C: Claims> fmt::Debug for VerifierBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifierBuilder")
            .field("issuers", &self.plan.issuers)
            .field("audiences", &self.plan.audiences)
            .field("algorithms", &self.plan.algorithms)
            .finish_non_exhaustive()
    }
}
