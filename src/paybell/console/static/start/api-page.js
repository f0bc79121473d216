// The interactive page of the HTTP API: Swagger UI, from a package beside ours, on our own document.

SwaggerUIBundle({
  url: new URL("../../schema", import.meta.url).href,
  dom_id: "#api",
  deepLinking: true,
  displayRequestDuration: true,
  // Nothing is asked of anybody else, and a token is forgotten with the page.
  validatorUrl: null,
  persistAuthorization: false,
});
